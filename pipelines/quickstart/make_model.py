"""Makes the quickstart's base model, tokenizer and data.

    python make_model.py --seed 1 --threads 2

needs torch, numpy, safetensors, tokenizers and transformers, and writes, beside this file, `model/` (a Llama of about
a million parameters), `profiles.jsonl`, `heldout.jsonl`, `personas.jsonl` and `queries.md`. `--data` writes the data
files only. The model is trained on whole dialogues of three turns, composed on the fly by `grammar.py`, in two phases:
a clean one, in which every answer satisfies every constraint, so that it learns to read them, and a noisy one, in which
each constraint is satisfied with probability `1 - noise` independently, so that it listens only imperfectly and leaves
preference optimization something to do. Times and figures are in the commit that added the model.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

from grammar import FIRST_QUERIES, LATER_QUERIES, TOPICS, compose, sample_constraints

HERE = Path(__file__).parent
SPECIAL = ["<pad>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
PAD, BOS, SYSTEM, USER, ASSISTANT, END = range(6)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
NAMES = "Leo Mia Ana Tom Eva Max Lena Paul Nora Finn Ida Otto Rosa Hugo Vera Karl Emma Luis Sara Jan Clara Omar Nina Felix Marta Ivan Julia Amir Lucy Peter Greta Noah Alma Diego Ruth Oscar Maya Henry Lina Samuel".split()
HELDOUT_NAMES = "Theo Zoe Ben Kira Anton Milo Frida Yusuf Elsa Rafael Tara Viktor Selma Dario Hanna Jonas Leila Marco Olga Simon".split()
JOBS = "teacher baker nurse gardener sailor painter farmer librarian cook driver tailor doctor musician guide carpenter writer pilot shepherd postman clerk".split()
MANNERS = "careful kind cheerful patient quiet honest curious calm friendly polite brisk gentle".split()
HABITS = ["You answer kindly.", "You keep a steady tone.", "You love small talk.", "You never rush.", "You speak plainly.", "You enjoy every question."]


def description(rng, names):
    """One or two sentences that say who is speaking."""
    name, job, manner = rng.choice(names), rng.choice(JOBS), rng.choice(MANNERS)
    text = rng.choice([f"You are {name}, a {manner} {job}.", f"Your name is {name} and you are a {manner} {job}.", f"You are a {manner} {job} called {name}."])
    text = text.replace(" a honest", " an honest")
    return text + (" " + rng.choice(HABITS) if rng.random() < 0.4 else "")


def system_message(described, texts):
    return described + "\nRules:\n" + "\n".join("- " + text for text in texts)


def dialogue(rng, noise, stray=0.0):
    """System message and three turns of (query, answer, whether to learn from the answer).

    With probability `stray` a turn answers demands of which half are flipped; it stands in the history only."""
    while True:
        constraints = sample_constraints(rng, rng.choice([1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]))
        turns = []
        for i, topic in enumerate(rng.sample(list(TOPICS), 3)):
            astray = i < 2 and rng.random() < stray
            p = 0.5 if astray else noise
            answer = compose(rng, topic, [c.reversed() if rng.random() < p else c for c in constraints])
            if answer is None:
                break
            turns.append((rng.choice(LATER_QUERIES if i else FIRST_QUERIES).format(t=topic), answer, not astray))
        if len(turns) == 3:
            texts = [c.text(rng.random() < 0.3) for c in constraints]
            return system_message(description(rng, NAMES), texts), turns


def train_tokenizer(seed, vocabulary):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    rng, texts = random.Random(seed), []
    for _ in range(12000):
        system, turns = dialogue(rng, 0.35)
        texts += [system] + [text for turn in turns for text in turn[:2]]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, system, turns):
    """Token ids of a dialogue, and labels that are -100 outside the answers to learn from."""
    pieces = tokenizer.encode_batch([system] + [text for turn in turns for text in turn[:2]])
    ids = [BOS, SYSTEM, *pieces[0].ids, END]
    labels = [-100] * len(ids)
    for i, (_, _, learn) in enumerate(turns):
        query, answer = pieces[1 + 2 * i].ids, pieces[2 + 2 * i].ids + [END]
        ids += [USER, *query, END, ASSISTANT, *answer]
        labels += [-100] * (len(query) + 3) + (answer if learn else [-100] * len(answer))
    return ids, labels


def batches(tokenizer, rng, size, noise, stray):
    """Batches of dialogues of like length, padded right."""
    import torch

    while True:
        pool = sorted((encode(tokenizer, *dialogue(rng, noise, stray)) for _ in range(size * 16)), key=lambda x: len(x[0]))
        groups = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(groups)
        for group in groups:
            length = max(len(ids) for ids, _ in group)
            yield tuple(torch.tensor([x[j] + [fill] * (length - len(x[j])) for x in group]) for j, fill in ((0, PAD), (1, -100)))


def train(model, data, steps, peak, warm_up, floor, log):
    """AdamW with warm-up and a cosine down to `floor * peak`. Padding is on the right, so causal attention needs no mask."""
    import torch
    import torch.nn.functional as F

    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=peak, betas=(0.9, 0.98))
    model.train()
    start, seen, total = time.time(), 0, 0.0
    for step in range(steps):
        rate = min(1.0, (step + 1) / warm_up) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = peak * rate
        ids, labels = next(data)
        hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
        keep = labels[:, 1:] != -100
        loss = F.cross_entropy(model.lm_head(hidden[keep]), labels[:, 1:][keep])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen, total = seen + ids.numel(), total + loss.item()
        if (step + 1) % 50 == 0:
            log(f"step {step + 1} loss {total / 50:.4f} tokens {seen} seconds {time.time() - start:.0f}")
            total = 0.0


def new_model(vocabulary):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
            max_position_embeddings=1024, rope_theta=10000.0, rms_norm_eps=1e-5, tie_word_embeddings=True,
            bos_token_id=BOS, eos_token_id=END, pad_token_id=PAD, initializer_range=0.04,
        )
    )


def save(model, tokenizer, folder):
    """The five files of a model folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    c = model.config
    config = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD,
        "head_dim": c.hidden_size // c.num_attention_heads, "hidden_act": "silu", "hidden_size": c.hidden_size, "initializer_range": 0.04, "intermediate_size": c.intermediate_size,
        "max_position_embeddings": 1024, "mlp_bias": False, "model_type": "llama", "num_attention_heads": c.num_attention_heads, "num_hidden_layers": c.num_hidden_layers,
        "num_key_value_heads": c.num_key_value_heads, "rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "torch_dtype": "float32", "use_cache": True, "vocab_size": c.vocab_size,
    }
    special = {"bos_token": "<s>", "eos_token": "<|end|>", "pad_token": "<pad>"}
    tokenizer_config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, "clean_up_tokenization_spaces": False, "add_bos_token": False, **special, "chat_template": CHAT_TEMPLATE}
    generation = {"bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD, "do_sample": True, "temperature": 1.0, "max_new_tokens": 64}
    for name, value in (("config", config), ("tokenizer_config", tokenizer_config), ("generation_config", generation)):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n")


def profiles(rng, count, names, prefix, known=()):
    """Profiles whose sets of demands differ from one another and from the `known` ones."""
    found, seen = [], set(known)
    while len(found) < count:
        constraints = sample_constraints(rng, 3 + len(found) % 4)
        key = frozenset(constraints)
        if key in seen or any(compose(rng, topic, constraints) is None for topic in rng.sample(list(TOPICS), 6)):
            continue
        seen.add(key)
        described = description(rng, names)
        name = next(n for n in names if n in described.replace(".", " ").replace(",", " ").split())
        items = [{"id": f"c{i + 1}", "text": c.text(rng.random() < 0.2), "check": c.json()} for i, c in enumerate(constraints)]
        found.append({"id": f"{prefix}{len(found) + 1:03}", "name": name, "description": described, "skills": [], "constraints": items})
    return found, seen


def personas(rng, count):
    places = ["from the coast", "from a small town", "from the north", "from the hills", "from a big city", "from a quiet street"]
    found = []
    for i in range(count):
        name = (NAMES + HELDOUT_NAMES)[i % 60]
        interests = ", ".join(rng.sample(list(TOPICS), rng.choice([3, 4, 5])))
        found.append({"id": f"u{i + 1:03}", "text": f"{name}, a {rng.choice(JOBS)} {rng.choice(places)}. interests: {interests}"})
    return found


def write_data(seed):
    rng = random.Random(seed + 1000)
    training, seen = profiles(rng, 120, NAMES, "p")
    heldout, _ = profiles(rng, 140, HELDOUT_NAMES, "h", seen)
    for name, rows in (("profiles", training), ("heldout", heldout), ("personas", personas(rng, 60))):
        (HERE / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = ["# Queries the base model was trained on", "", "`{t}` is a topic. A dialogue begins with one of the first list and goes on with the second.", "", "First turn:", ""]
    lines += [f"- {q}" for q in FIRST_QUERIES] + ["", "Later turns:", ""] + [f"- {q}" for q in LATER_QUERIES] + ["", "Topics:", ""] + [f"- {t}" for t in TOPICS]
    (HERE / "queries.md").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=900)
    parser.add_argument("--clean-steps", type=int, default=3000)
    parser.add_argument("--noisy-steps", type=int, default=400)
    parser.add_argument("--noise", type=float, default=0.35)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=HERE / "model")
    parser.add_argument("--clean-out", type=Path, help="keep the model after the clean phase here")
    parser.add_argument("--start", type=Path, help="start the noisy phase from this clean model")
    parser.add_argument("--data", action="store_true", help="write the data files only")
    args = parser.parse_args()
    write_data(args.seed)
    if args.data:
        return

    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    log = lambda text: print(text, flush=True)
    if args.start:
        from tokenizers import Tokenizer
        from transformers import LlamaForCausalLM

        tokenizer, model = Tokenizer.from_file(str(args.start / "tokenizer.json")), LlamaForCausalLM.from_pretrained(args.start, dtype=torch.float32)
    else:
        tokenizer = train_tokenizer(args.seed, args.vocabulary)
        model = new_model(tokenizer.get_vocab_size())
        log(f"vocabulary {tokenizer.get_vocab_size()}, parameters {sum(p.numel() for p in model.parameters())}")
        train(model, batches(tokenizer, random.Random(args.seed), args.batch, 0.0, 0.2), args.clean_steps, 3e-3, 100, 0.1, log)
        if args.clean_out:
            save(model, tokenizer, args.clean_out)
    train(model, batches(tokenizer, random.Random(args.seed + 1), args.batch, args.noise, 0.0), args.noisy_steps, 1e-3, 10, 0.1, log)
    save(model, tokenizer, args.out)


if __name__ == "__main__":
    main()
