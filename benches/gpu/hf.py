"""The same models by transformers and PEFT, with random weights made where they are used."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from task import ALPHA, MODELS, PROJECTIONS, RANK


def bare(name, device):
    config = AutoConfig.for_model(**MODELS[name])
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")


def lora():
    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM")


def adapted(name, device, lora_dtype):
    model = get_peft_model(bare(name, device), lora(), autocast_adapter_dtype=False)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(lora_dtype)
    return model.train()


def set_checkpointed(model, wanted):
    if wanted:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
