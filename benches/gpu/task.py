"""What the contenders of a step on a GPU share: models of random weights, pairs, the clock, and the line that is printed.

The pairs are of one length and random; their log-probs under the reference are given, for everyone."""

import argparse
import gc
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))

from train import step_gflop

RANK, ALPHA = 16, 32
BETA, GAMMA = 0.1, 0.05
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MODELS = json.loads((HERE / "models.json").read_text())


def parser(description):
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--model", choices=MODELS, default="llama-3.1-8b")
    made.add_argument("--device", default="cuda")
    made.add_argument("--pairs", type=int, default=16, help="of a step")
    made.add_argument("--prompt", type=int, default=1024)
    made.add_argument("--response", type=int, default=256)
    made.add_argument("--micro", type=int, default=8, help="pairs at a time; halved until they fit")
    made.add_argument("--checkpoint", action="store_true", help="compute activations again even where they fit")
    made.add_argument("--warmup", type=int, default=1)
    made.add_argument("--steps", type=int, default=5)
    made.add_argument("--ceiling", type=float, help="TFLOP/s of large products, for the floor")
    made.add_argument("--tiny", action="store_true", help="a small shape, to try it")
    return made


def parsed(made):
    options = made.parse_args()
    if options.tiny:
        options.model, options.pairs, options.prompt, options.response = "tiny", 4, 32, 8
    options.micro = min(options.micro, options.pairs)
    return options


def random_pairs(options):
    draw, vocabulary = random.Random(1), MODELS[options.model]["vocab_size"]
    lengths = {"prompt": options.prompt, "chosen": options.response, "rejected": options.response}

    def pair():
        return {key: draw.choices(range(vocabulary), k=length) for key, length in lengths.items()}

    return [{**pair(), "gap": 1.0} for _ in range(options.pairs)]


def fitting(options, attempt):
    """What `attempt` returns for as many pairs at a time as fit, without checkpointing where one does."""
    import torch

    halves = [options.micro >> at for at in range(options.micro.bit_length())]
    tries = [(micro, checkpoint) for checkpoint in ([True] if options.checkpoint else [False, True]) for micro in halves]
    for micro, checkpoint in tries:
        try:
            return micro, checkpoint, attempt(micro, checkpoint)
        except torch.OutOfMemoryError:
            print(f"{micro} pairs at a time do not fit{' with checkpointing' * checkpoint}", file=sys.stderr)
        gc.collect()
        torch.cuda.empty_cache()
    raise SystemExit("not even one pair fits")


def seconds_of(options, step):
    """Of every step after the warm-up."""
    import torch

    made = []
    for _ in range(options.warmup + options.steps):
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        made.append(time.perf_counter() - start)
    return made[options.warmup :]


def card_memory(device):
    """What is taken of the card, in 10^9 bytes: allocators keep what they took, so this is the most."""
    if not device.startswith("cuda"):
        return None
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 2**20 / 1e9


def report(name, options, micro, checkpoint, seconds):
    """The line of a contender that computes each prompt twice."""
    work = {"pairs": options.pairs, "prompt": options.prompt, "response": options.response, "rank": RANK}
    middle, flop = median(seconds), 1e9 * sum(step_gflop(MODELS[options.model], **work, shared=False).values())
    floor = flop / options.ceiling / 1e12 if options.ceiling else None
    line = {
        "step": name, "model": options.model, "device": options.device, **work,
        "micro_pairs": micro, "activations": "recompute" if checkpoint else "keep",
        "seconds_per_step": middle,
        "tokens_per_s": 2 * options.pairs * (options.prompt + options.response) / middle,
        "packed_tokens_per_s": options.pairs * (options.prompt + 2 * options.response) / middle,
        "tflop": flop / 1e12, "tflop_per_s": flop / middle / 1e12,
        "floor_seconds": floor, "share_of_floor": floor and floor / middle,
        "card_memory_gb": card_memory(options.device),
    }  # fmt: skip
    print(json.dumps(line), flush=True)
