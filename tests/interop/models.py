"""Writes tiny random models, each with an adapter saved by peft and pairs of token ids:

python models.py OUT    makes OUT/NAME/{model,adapter,batch.json} for NAME in llama and qwen2
"""

import json
import sys
from pathlib import Path

import common  # first: it keeps the libraries offline
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SIZES = dict(
    vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
LLAMA3 = dict(
    rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=64,
)  # fmt: skip
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LLAMA3, tie_word_embeddings=False)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def disturb(model):
    """Biases begin as zeros and gains as ones, which would hide a mistake."""
    for name, weight in model.named_parameters():
        if name.endswith("bias") or "norm" in name:
            weight.data += 0.3 * torch.randn_like(weight)


def make_pairs(count=6):
    def ids(length):
        return torch.randint(3, SIZES["vocab_size"], (length,)).tolist()

    return [{"prompt": ids(9 + i), "chosen": ids(7), "rejected": ids(5 + i), "gap": 1.0 + i % 3} for i in range(count)]


def make(name, out):
    torch.manual_seed(1)
    model = MODELS[name]()
    disturb(model)
    model.save_pretrained(out / "model")
    # False: B is random too, so the adapter does something.
    lora = LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, lora).save_pretrained(out / "adapter")
    (out / "batch.json").write_text(json.dumps({"beta": 0.1, "gamma": 0.05, "pairs": make_pairs()}))


for name in MODELS:
    make(name, Path(sys.argv[1]) / name)
