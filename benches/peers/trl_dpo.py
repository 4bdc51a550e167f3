"""TRL's DPOTrainer, as it ships, on the same token ids, adapter and order as the other trainers.

Two things are ours. TRL 1.16 tokenizes text itself and would append an end token, so `Ids` hands it the columns that it
would have made (`prompt_ids`, `chosen_ids`, `rejected_ids`). And the adapter's weights are loaded after the trainer is
made: given a trained adapter, TRL takes a frozen copy of it as reference, where the reference here is the bare model.
"""

import os
import time

from common import BATCH, parser, read_pairs, report_peak, report_step, sequences

if __name__ == "__main__":
    options = parser(__doc__).parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # read when torch is loaded
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched or reported

import tempfile

import torch
from datasets import Dataset
from peft import LoraConfig, load_peft_weights, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer


class Ids(DPOTrainer):
    def _prepare_dataset(self, dataset, *_):
        return dataset

    def compute_loss(self, *args, **kwargs):
        """Keeps the loss, of which TRL's log shows four digits."""
        self.last_loss = super().compute_loss(*args, **kwargs)
        return self.last_loss


class Clock(TrainerCallback):
    """A step's time from its first forward pass to the end of its update, logging left out."""

    trainer = None

    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, _, state, *__, **___):
        seconds = time.perf_counter() - self.start
        report_step(state.global_step, self.trainer.last_loss.item(), seconds, self.tokens)


def settings(folder, steps, **more):
    return DPOConfig(
        output_dir=folder, max_steps=steps, train_sampling_strategy="sequential",
        loss_type="sigmoid", beta=0.1, precompute_ref_log_probs=True, max_length=None,
        learning_rate=1e-4, lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0,
        adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, optim="adamw_torch_fused",
        report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, **more,
    )  # fmt: skip


def dataset(pairs):
    return Dataset.from_list([{f"{key}_ids": pair[key] for key in ("prompt", "chosen", "rejected")} for pair in pairs])


def make_trainer(options, pairs, folder):
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="sdpa")
    lora = LoraConfig.from_pretrained(options.adapter)
    tokenizer = AutoTokenizer.from_pretrained(options.model)  # asked for, but used for its pad token only
    on_cpu = dict(bf16=False, gradient_checkpointing=False, use_cpu=True, dataloader_pin_memory=False)
    chosen = settings(folder, options.steps, per_device_train_batch_size=BATCH, **on_cpu)
    trainer = Ids(model, args=chosen, train_dataset=dataset(pairs), processing_class=tokenizer, peft_config=lora)
    set_peft_model_state_dict(trainer.model, load_peft_weights(options.adapter, device="cpu"))
    return trainer


def main(options):
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    pairs, clock = read_pairs(options.pairs), Clock()
    clock.tokens = sum(map(len, sequences(pairs[:BATCH])))  # pairs are of one length
    with tempfile.TemporaryDirectory() as folder:
        clock.trainer = make_trainer(options, pairs, folder)
        clock.trainer.add_callback(clock)
        clock.trainer.train()
    report_peak()


if __name__ == "__main__":
    main(options)
