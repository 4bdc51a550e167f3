"""Loads exported pairs as `datasets` loads them and trains one step on each in TRL's DPOTrainer, as they are:
python pairs.py PAIRS_FOLDER MODEL"""

import json
import sys
import tempfile
from pathlib import Path

import common  # noqa: F401  first: it keeps the libraries offline
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

folder, model = Path(sys.argv[1]), sys.argv[2]
SOURCES = {
    "jsonl": ("json", {"data_files": str(folder / "pairs.jsonl")}),
    "parquet": ("parquet", {"data_files": str(folder / "pairs.parquet")}),
    "folder": (str(folder), {}),  # as its card says
}


def step(rows, scratch):
    settings = DPOConfig(
        output_dir=scratch, max_steps=1, per_device_train_batch_size=4, use_cpu=True, bf16=False, report_to="none",
        save_strategy="no", logging_steps=1, disable_tqdm=True, seed=1,
    )  # fmt: skip
    policy = AutoModelForCausalLM.from_pretrained(model)
    trainer = DPOTrainer(policy, args=settings, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(model))
    trainer.train()
    return {key: value for row in trainer.state.log_history for key, value in row.items() if key in ("loss", "grad_norm")}


def report(source, scratch):
    kind, options = source
    rows = load_dataset(kind, split="train", cache_dir=f"{scratch}/cache", **options)
    return {"rows": len(rows), "columns": rows.column_names, "first": rows[0], **step(rows, scratch)}


with tempfile.TemporaryDirectory() as scratch:
    result = json.dumps({name: report(source, scratch) for name, source in SOURCES.items()})
print(result)
