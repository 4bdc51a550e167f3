"""LoRA-DPO in plain PyTorch: a step is what a careful user would write by hand, with nothing left to waste.

The reference's log-probs are computed once and not timed; the head is applied to response positions only; chosen and
rejected go through the model as one batch of equal length without an attention mask, so sdpa takes its causal path.
"""

import os
import time

from common import batch_of, parser, read_pairs, report_peak, report_step, sequences


def arguments():
    options = parser(__doc__)
    options.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    options.add_argument("--lora-dtype", choices=["f32", "bf16"], help="of the adapter; f32 by default")
    return options.parse_args()


if __name__ == "__main__":
    options = arguments()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # read when torch is loaded

import torch
import torch.nn.functional as F

BETA = 0.1
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def load(options):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=DTYPES[options.dtype], attn_implementation="sdpa")
    model = PeftModel.from_pretrained(model, options.adapter, is_trainable=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(DTYPES[options.lora_dtype or "f32"])
    return model.train()  # there is no dropout to switch on


def logps(model, pairs, mixed=False):
    """Summed log-probs of all responses: chosen ones, then rejected ones. `mixed`: the base is narrower than the adapter."""
    ids = torch.tensor(sequences(pairs), device=model.device)
    first = len(pairs[0]["prompt"])
    keep = torch.arange(first - 1, ids.shape[1] - 1, device=ids.device)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=mixed):
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
    lost = F.cross_entropy(logits.float().flatten(0, 1), ids[:, first:].flatten(), reduction="none")
    return -lost.view(len(ids), -1).sum(1)


def reference(model, pairs, mixed):
    with torch.no_grad(), model.disable_adapter():
        made = [logps(model, [pair], mixed) for pair in pairs]
    return {id(pair): row for pair, row in zip(pairs, made)}


def adamw(model):
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, fused=True)


def update(model, optimizer):
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def train_step(model, optimizer, pairs, known, mixed):
    chosen, rejected = logps(model, pairs, mixed).chunk(2)
    base = torch.stack([known[id(pair)] for pair in pairs])
    margin = (chosen - base[:, 0]) - (rejected - base[:, 1])
    loss = -F.logsigmoid(BETA * margin).mean()
    loss.backward()
    update(model, optimizer)
    return loss.item()


def main(options):
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    pairs, model = read_pairs(options.pairs), load(options)
    optimizer, mixed = adamw(model), options.dtype == "bf16" and options.lora_dtype != "bf16"
    known = reference(model, pairs, mixed)
    for step in range(options.steps):
        batch = batch_of(pairs, step)
        start = time.perf_counter()
        loss = train_step(model, optimizer, batch, known, mixed)
        report_step(step + 1, loss, time.perf_counter() - start, sum(map(len, sequences(batch))))
    report_peak()


if __name__ == "__main__":
    main(options)
