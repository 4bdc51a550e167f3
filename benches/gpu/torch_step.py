"""A step of LoRA-RPO in hand-written PyTorch: bf16 base, rank 16 on all seven projections, SDPA's flash attention, the head
on response positions only, fused AdamW; chosen and rejected are rows of one batch, which equal lengths spare padding.

python torch_step.py [--model llama-3.1-8b] [--code plain|hf] [--compile] [--ceiling TFLOPS] [--device cpu --tiny]

`plain` is decoder.py, `hf` transformers with PEFT. As many pairs at a time as fit, without checkpointing where one does.
"""

import sys

import torch
import torch.nn.functional as F

import task
from torch_lora import DTYPES, adamw, logps, update


def arguments():
    made = task.parser(__doc__)
    made.add_argument("--code", choices=["plain", "hf"], default="plain")
    made.add_argument("--compile", action="store_true", help="the blocks, by torch.compile")
    made.add_argument("--lora-dtype", choices=DTYPES, default="f32")
    return task.parsed(made)


def load(options):
    lora_dtype = DTYPES[options.lora_dtype]
    if options.code == "hf":
        import hf

        return hf.adapted(options.model, options.device, lora_dtype), hf.set_checkpointed
    from decoder import Decoder

    model = Decoder(task.MODELS[options.model], options.device, lora_dtype)
    if options.compile:
        for block in model.blocks:
            # The shapes of one size of batch: after a larger one did not fit, not those of any.
            block.compile(dynamic=False)
    return model, lambda model, wanted: setattr(model, "checkpointed", wanted)


def train_step(model, optimizer, pairs, micro, mixed):
    """The reference's log-probs are given: as the weights are random, zeros do as well as any."""
    total = 0.0
    for first in range(0, len(pairs), micro):
        part = pairs[first : first + micro]
        chosen, rejected = logps(model, part, mixed).chunk(2)
        gaps = torch.tensor([pair["gap"] for pair in part], device=chosen.device)
        loss = -F.logsigmoid(task.BETA * (chosen - rejected) - task.GAMMA * gaps).sum() / len(pairs)
        loss.backward()
        total = total + loss.detach()
    update(model, optimizer)
    return total


def name(options):
    return "PyTorch" + ", transformers and PEFT" * (options.code == "hf") + ", compiled" * options.compile


def main():
    options = arguments()
    torch.manual_seed(1)
    (model, set_checkpointed), pairs = load(options), task.random_pairs(options)
    optimizer, mixed = adamw(model), options.code == "hf" and options.lora_dtype == "f32"

    def attempt(micro, checkpoint):
        set_checkpointed(model, checkpoint)
        optimizer.zero_grad(set_to_none=True)
        losses = []
        seconds = task.seconds_of(options, lambda: losses.append(train_step(model, optimizer, pairs, micro, mixed)))
        print("losses", [round(loss.item(), 4) for loss in losses], file=sys.stderr)
        return seconds

    task.report(name(options), options, *task.fitting(options, attempt))


if __name__ == "__main__":
    main()
