"""A step of TRL's DPOTrainer, as it ships, on a model of random weights; log-probs under the reference computed before.

python trl_step.py [--model llama-3.1-8b] [--ceiling TFLOPS] [--device cpu --tiny]

The loss is DPO's: RPO's margin is a constant in it and costs nothing. Skipped, with a line that says so, where TRL or what
it needs cannot be imported.
"""

import json
import tempfile
import time

import torch

import task

try:
    import trl_dpo
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast, TrainerCallback

    import hf
except ImportError as error:
    print(json.dumps({"step": "TRL", "skipped": str(error)}))
    raise SystemExit(0)


class Clock(TrainerCallback):
    """Every step's time, from its first forward pass to the end of its update."""

    def __init__(self):
        self.seconds = []

    def now(self):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_step_begin(self, *_, **__):
        self.start = self.now()

    def on_step_end(self, *_, **__):
        self.seconds.append(self.now() - self.start)


def settings(options, folder, micro, checkpoint):
    on_cpu = options.device == "cpu"
    return trl_dpo.settings(
        folder, options.warmup + options.steps, per_device_train_batch_size=micro, per_device_eval_batch_size=micro,
        gradient_accumulation_steps=-(-options.pairs // micro), gradient_checkpointing=checkpoint,
        bf16=not on_cpu, use_cpu=on_cpu, dataloader_pin_memory=not on_cpu,
    )  # fmt: skip


def tokenizer():
    """Asked for, but used for its pad token only."""
    words = Tokenizer(WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<pad>")


def main():
    options = task.parsed(task.parser(__doc__))
    pairs = task.random_pairs(options)

    def attempt(micro, checkpoint):
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl_dpo.Ids(
                hf.bare(options.model, options.device), args=settings(options, folder, micro, checkpoint),
                train_dataset=trl_dpo.dataset(pairs), processing_class=tokenizer(), peft_config=hf.lora(), callbacks=[clock],
            )  # fmt: skip
            trainer.train()
        return clock.seconds[options.warmup :]

    task.report("TRL", options, *task.fitting(options, attempt))


if __name__ == "__main__":
    main()
