"""Writes what every trainer starts from: 16 pairs as token ids, and a LoRA adapter in PEFT's format.

python pairs.py --model HF_FOLDER --out FOLDER    makes FOLDER/batch.json and FOLDER/start/

The same seed gives the same bytes. Ids are uniformly random: a transformer's time does not depend on which ids it reads.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

RANK, ALPHA = 8, 16
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


def make_pairs(rng, vocabulary, count=16, prompt=128, response=96):
    def ids(length):
        return rng.integers(0, vocabulary, length).tolist()

    return [{"prompt": ids(prompt), "chosen": ids(response), "rejected": ids(response), "gap": 2.0} for _ in range(count)]


def shapes(config):
    """Every adapted projection's name with its input and output width."""
    hidden, mlp = config["hidden_size"], config["intermediate_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    key = config["num_key_value_heads"] * config["head_dim"]
    sizes = [(hidden, query), (hidden, key), (hidden, key), (query, hidden), (hidden, mlp), (hidden, mlp), (mlp, hidden)]
    for layer in range(config["num_hidden_layers"]):
        for name, size in zip(ATTENTION + MLP, sizes):
            block = "self_attn" if name in ATTENTION else "mlp"
            yield f"base_model.model.model.layers.{layer}.{block}.{name}", *size


def make_adapter(rng, config):
    """B is not zero, so that the first loss is not ln 2 and checks the adapter's forward pass."""
    tensors = {}
    for name, wide_in, wide_out in shapes(config):
        bound = wide_in**-0.5
        tensors[f"{name}.lora_A.weight"] = rng.uniform(-bound, bound, (RANK, wide_in)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = rng.normal(0, 0.01, (wide_out, RANK)).astype(np.float32)
    return tensors


def adapter_config():
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.0, "bias": "none",
        "target_modules": [*ATTENTION, *MLP], "base_model_name_or_path": None, "inference_mode": False,
        "init_lora_weights": True, "fan_in_fan_out": False, "use_dora": False, "use_rslora": False, "modules_to_save": None,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    config = json.loads((options.model / "config.json").read_text())
    rng = np.random.default_rng(options.seed)
    start = options.out / "start"
    start.mkdir(parents=True, exist_ok=True)
    batch = {"beta": 0.1, "gamma": 0.05, "pairs": make_pairs(rng, config["vocab_size"])}
    (options.out / "batch.json").write_text(json.dumps(batch))
    save_file(make_adapter(rng, config), start / "adapter_model.safetensors", metadata={"format": "pt"})
    (start / "adapter_config.json").write_text(json.dumps(adapter_config(), indent=2) + "\n")


if __name__ == "__main__":
    main()
