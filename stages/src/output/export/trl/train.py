"""Trains a LoRA adapter on the pairs beside this file: python train.py [MODEL]"""

import sys
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from rpo_trl import RPOTrainer
from trl import DPOConfig

here = Path(__file__).parent
model = sys.argv[1] if len(sys.argv) > 1 else {{ model | quote }}
pairs = load_dataset("{{ "parquet" if data is endingwith ".parquet" else "json" }}", data_files=str(here / "{{ data }}"), split="train")
settings = DPOConfig(
    output_dir=str(here / "out"),
    beta=0.1,
    learning_rate=5e-5,
    num_train_epochs=1,
    per_device_train_batch_size=1,
    gradient_accumulation_steps={{ batch }},
    max_length=2048,
    truncation_mode="keep_end",
    bf16=torch.cuda.is_available(),
    logging_steps=1,
    report_to="none",
)
lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
trainer = RPOTrainer(model, gamma=0.05, args=settings, train_dataset=pairs, peft_config=lora)
trainer.train()
trainer.save_model()
