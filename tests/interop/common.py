"""What the scripts share. Everything is on the CPU, offline and in double precision, so that what is off is ours."""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

SIDES = ("chosen", "rejected")


def base(folder):
    """A model of a folder, or of a GGUF file."""
    path = Path(folder)
    place = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    return AutoModelForCausalLM.from_pretrained(place[0], dtype=torch.float32, **place[1]).double().eval()


def adapted(folder, adapter):
    return PeftModel.from_pretrained(base(folder), adapter).double().eval()


def pairs(path):
    return json.loads(Path(path).read_text())["pairs"]


@torch.no_grad()
def logits(model, tokens):
    return model(torch.tensor([tokens])).logits[0]


def response_logprob(model, prompt, response):
    """The log-prob of a response after its prompt, summed over its tokens."""
    rows = logits(model, prompt + response)[len(prompt) - 1 : -1].log_softmax(-1)
    return rows.gather(1, torch.tensor(response)[:, None]).sum().item()


def logprobs(model, batch):
    return {side: [response_logprob(model, pair["prompt"], pair[side]) for pair in batch] for side in SIDES}
