"""What the peers share: the file of pairs, the order of batches, and how a step is reported."""

import argparse
import json
import resource
from pathlib import Path

BATCH = 4  # pairs per step


def parser(doc):
    """What every trainer is told."""
    options = argparse.ArgumentParser(description=doc)
    for name in ("--model", "--adapter", "--pairs"):
        options.add_argument(name, required=True)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--steps", type=int, default=3)
    return options


def read_pairs(path):
    return json.loads(Path(path).read_text())["pairs"]


def batch_of(pairs, step):
    """Pairs of a step counted from 0: the file's order, from its start again after its end."""
    return [pairs[(step * BATCH + i) % len(pairs)] for i in range(BATCH)]


def sequences(pairs):
    """Chosen sequences, then rejected ones."""
    return [pair["prompt"] + pair[key] for key in ("chosen", "rejected") for pair in pairs]


def report_step(step, loss, seconds, tokens):
    print(json.dumps({"step": step, "loss": loss, "seconds": seconds, "tokens": tokens}), flush=True)


def report_peak():
    """The greatest resident memory of this process in MB of 10^6 bytes; Linux counts in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"peak_rss_mb": round(peak)}), flush=True)
