"""Prints TRL's losses of a batch of exported pairs, under a model with an adapter and the model without as the reference:
RPOTrainer's by gamma, DPOTrainer's, and what each logs of rewards. python margin.py EXPORTED MODEL ADAPTER"""

import json
import sys
import tempfile
from pathlib import Path

import common  # first: it keeps the libraries offline
import torch
from datasets import load_dataset
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

folder, model, adapter = sys.argv[1:]
sys.path.insert(0, folder)
from rpo_trl import RPOTrainer  # noqa: E402

REWARDS = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"]


def measured(kind, scratch, precompute=False, **more):
    """The loss and the rewards of all pairs as one batch, by way of the trainer's own loader."""
    rows = load_dataset("parquet", data_files=f"{folder}/pairs.parquet", split="train", cache_dir=f"{scratch}/cache")
    settings = DPOConfig(
        output_dir=scratch, beta=0.1, per_device_train_batch_size=len(rows), use_cpu=True, bf16=False, report_to="none",
        precompute_ref_log_probs=precompute,
    )  # fmt: skip
    policy = common.adapted(model, adapter).merge_and_unload().requires_grad_(True)
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = kind(
        policy, ref_model=common.base(model), args=settings, train_dataset=rows, processing_class=tokenizer, **more
    )
    [batch] = trainer.get_train_dataloader()
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))
    loss.backward()
    norm = torch.stack([weight.grad.norm() for weight in trainer.model.parameters() if weight.grad is not None]).norm()
    return {
        "loss": loss.item(),
        "norm": norm.item(),
        "rewards": [trainer._metrics["train"][name][-1] for name in REWARDS],
    }


with tempfile.TemporaryDirectory() as scratch:
    found = {
        "dpo": measured(DPOTrainer, scratch),
        "rpo": measured(RPOTrainer, scratch),
        "precomputed": measured(RPOTrainer, scratch, precompute=True),
        "none": measured(RPOTrainer, scratch, gamma=0.0),
        "large": measured(RPOTrainer, scratch, gamma=0.5),
    }
print(json.dumps(found))
