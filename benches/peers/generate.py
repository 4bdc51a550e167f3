"""Samples from the same weights with llama.cpp and obvert, by turns, and writes a table.

python generate.py --gguf FOLDER [--python VENV/bin/python]

FOLDER holds f32.gguf and bf16.gguf (gguf_wide.py makes them). Each run is a fresh process that warms up first.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

import machine

HERE = Path(__file__).resolve().parent
WIDTHS = ("f32", "bf16")
LEAST = {"decode_tps": "0.8 × llama.cpp's at the same width", "batch16_ratio": "at least 4", "five_to_one": "at most 1.5"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, required=True, help="the folder of f32.gguf and bf16.gguf")
    parser.add_argument("--obvert", type=Path, default=HERE.parent.parent / "target/release/examples/generate_speed")
    parser.add_argument("--python", default=sys.executable, help="of the venv of requirements-llama.txt")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def run_llama(options, width):
    sizes = ["--prompt", options.prompt, "--answer", options.answer, "--threads", options.threads]
    return [options.python, HERE / "llama.py", "--model", options.gguf / f"{width}.gguf", *sizes]


def run_obvert(options, width):
    return [options.obvert, options.gguf / f"{width}.gguf", options.prompt, options.answer, width]


def measure(options):
    """The figures of every contender and width, round by round."""
    found = {}
    for turn in range(options.rounds):
        for width in WIDTHS:
            for name, command in (("llama.cpp", run_llama), ("obvert", run_obvert)):
                lines, _ = machine.run(command(options, width), options.threads)
                found.setdefault((name, width), []).append(json.loads(lines[-1][1]))
                print(f"round {turn + 1}: {name} {width}: {lines[-1][1].strip()}", flush=True)
    return found


def middle(runs, key):
    return median(run[key] for run in runs)


def table(found):
    yield "| | prefill, tokens/s | decode, tokens/s | of each round | 16 at once, tokens/s | 16 to one | 5 samples to one |"
    yield "|---|---|---|---|---|---|---|"
    for (name, width), runs in found.items():
        rounds = " ".join(f"{run['decode_tps']:.0f}" for run in runs)
        row = f"| {name} {width} | {middle(runs, 'prefill_tps'):.0f} | {middle(runs, 'decode_tps'):.1f} | {rounds} |"
        if "five_to_one" in runs[0]:
            batch = f"{middle(runs, 'batch16_decode_tps'):.0f}", f"{middle(runs, 'batch16_ratio'):.1f} ×"
            yield f"{row} {batch[0]} | {batch[1]} | {middle(runs, 'five_to_one'):.2f} × |"
        else:
            yield f"{row} | | |"


def verdicts(found):
    for width in WIDTHS:
        ours, theirs = found["obvert", width], found["llama.cpp", width]
        ratios = {key: middle(ours, key) / middle(theirs, key) for key in ("decode_tps", "prefill_tps")}
        yield f"- {width}: decode {ratios['decode_tps']:.2f} ×, prefill {ratios['prefill_tps']:.2f} × llama.cpp's"
    yield "- wanted: " + "; ".join(f"{key} {text}" for key, text in LEAST.items())


def main():
    options, started_on = arguments(), machine.describe()
    found = measure(options)
    what = f"{options.rounds} rounds by turns, a prompt of {options.prompt} tokens, answers of {options.answer}, {options.threads} threads"
    lines = [f"# Generation, side by side\n\n{started_on}\n\n{what}; medians. `../peers/README.md` says how.\n"]
    text = "\n".join([*lines, *table(found), "", *verdicts(found)]) + "\n"
    machine.result_path("generate").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
