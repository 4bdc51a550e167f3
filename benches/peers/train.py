"""Trains the same adapter on the same pairs with PyTorch (f32 and bf16), TRL and obvert, by turns, and writes a table.

python train.py --model HF_FOLDER [--obvert BINARY] [--python VENV/bin/python]

Each run is a fresh process; its first step is a warm-up and not counted. Speed is tokens of both full sequences a second,
for everyone: what a contender saves by sharing the prompt is its gain.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

import machine

HERE = Path(__file__).resolve().parent
TARGETS = {"torch f32": 3.0, "torch bf16": 2.0, "TRL f32": 5.0}
MOST_MB = 1500
# Of losses, between all who compute in f32.
APART = 1e-3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a Hugging Face folder of f32 weights")
    parser.add_argument("--obvert", type=Path, default=HERE.parent.parent / "target/release/obvert")
    parser.add_argument("--python", default=sys.executable, help="of the venv of requirements.txt")
    parser.add_argument("--work", type=Path, help="folder for pairs and adapters; a temporary one by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", help="contenders to run; all by default")
    parser.add_argument("--because", help="why the others are not, for the table")
    parser.add_argument("--gemm-rate", type=float, help="GFLOP/s for the floor, instead of the measured rate")
    return parser.parse_args()


# One run


def peer_steps(lines):
    rows = [json.loads(line) for _, line in lines if line.startswith('{"step"')]
    return [(row["loss"], row["tokens"] / row["seconds"]) for row in rows]


def obvert_steps(lines, metrics):
    """Speed from metrics.jsonl, or, where it has none, from when each step's line came; the first has no start then."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    came = [at for at, line in lines if line.startswith('{"step"')]
    between = [None] + [end - start for start, end in zip(came, came[1:])]
    return [(row["loss"], speed(row, seconds)) for row, seconds in zip(rows, between)]


def speed(row, seconds):
    seconds = row.get("seconds", seconds)
    return row.get("tokens/s") or (row["tokens"] / seconds if seconds else None)


def run_peer(script, *more):
    def run(options, work):
        inputs = ["--model", options.model, "--adapter", work / "start", "--pairs", work / "batch.json"]
        command = [options.python, HERE / script, *inputs, "--steps", options.steps, "--threads", options.threads, *more]
        lines, peak = machine.run(command, options.threads)
        return peer_steps(lines), peak

    return run


def run_obvert(options, work):
    inputs = ["--model", options.model, "--adapter", work / "start", "--pairs", work / "batch.json"]
    loss = "--loss dpo --beta 0.1 --lr 1e-4 --schedule constant --batch-size 4 --no-shuffle".split()
    # Every round is a run of its own, not the end of the one before.
    command = [options.obvert, "train", *inputs, *loss, "--steps", options.steps, "--restart", "--out", work / "out"]
    lines, peak = machine.run(command, options.threads)
    return obvert_steps(lines, work / "out/metrics.jsonl"), peak


CONTENDERS = {
    "torch f32": run_peer("torch_lora.py"),
    "torch bf16": run_peer("torch_lora.py", "--dtype", "bf16"),
    "TRL f32": run_peer("trl_dpo.py"),
    "obvert": run_obvert,
}


def measure(options, work):
    """Every contender's runs, and the best GEMM rate, each round one run of each."""
    runs, rates = {name: [] for name in options.only or CONTENDERS}, []
    for turn in range(options.rounds):
        gemm, _ = machine.run([options.python, HERE / "gemm.py", "--threads", options.threads], options.threads)
        rates.append(max(json.loads(gemm[-1][1]).values()))
        for name, made in runs.items():
            made.append(CONTENDERS[name](options, work))
            print(f"round {turn + 1}: {name}: {rate(made[-1]):.0f} tokens/s, {made[-1][1]:.0f} MB", flush=True)
    return runs, max(rates)


def rate(run):
    return median(speed for _, speed in run[0][1:])


# The floor


def step_gflop(config, pairs=4, prompt=128, response=96, rank=8, shared=True):
    """Arithmetic of one step, each prompt computed once or, if not shared, twice; frozen matrices have no weight gradient."""
    hidden, mlp, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    query = config["num_attention_heads"] * config["head_dim"]
    key = config["num_key_value_heads"] * config["head_dim"]
    sizes = [(hidden, query), (hidden, key), (hidden, key), (query, hidden), (hidden, mlp), (hidden, mlp), (mlp, hidden)]
    prompts = 1 if shared else 2
    rows, targets = pairs * (prompts * prompt + 2 * response), pairs * 2 * response
    # Keys that each query sees: causal within the prompt; a response sees the prompt and itself.
    seen = pairs * (prompts * prompt * (prompt + 1) // 2 + 2 * (response * prompt + response * (response + 1) // 2))
    flop = {
        "layers, forward and dX": 2 * 2 * rows * layers * sum(i * o for i, o in sizes),
        "head, forward and dX": 2 * 2 * targets * config["vocab_size"] * hidden,
        "attention, backward 2.5 x forward": 3.5 * 4 * seen * query * layers,
        "LoRA, with its weight gradients": 3 * 2 * rows * layers * rank * sum(i + o for i, o in sizes),
    }
    return {name: count / 1e9 for name, count in flop.items()}


# The table


def speed_table(runs):
    yield "| | tokens/s | of each round | s/step | peak memory, MB | obvert is | target |"
    yield "|---|---|---|---|---|---|---|"
    ours = median(map(rate, runs["obvert"])) if "obvert" in runs else None
    for name, made in runs.items():
        middle, peak = median(map(rate, made)), max(peak for _, peak in made)
        times = f"{ours / middle:.2f} ×" if ours and name != "obvert" else ""
        target = f"{TARGETS[name]:.0f} ×" if name in TARGETS else f"{MOST_MB} MB at most"
        rounds = " ".join(f"{rate(run):.0f}" for run in made)
        yield f"| {name} | {middle:.0f} | {rounds} | {1792 / middle:.2f} | {peak:.0f} | {times} | {target} |"


def losses(made):
    return [loss for loss, _ in made[0][0]]


def loss_table(runs):
    """Losses before each update, of the first round; differences of all rounds from the first contender's."""
    steps = len(losses(next(iter(runs.values()))))
    yield "| loss at step | " + " | ".join(str(step + 1) for step in range(steps)) + " | greatest difference |"
    yield "|---" * (steps + 2) + "|"
    first = losses(next(iter(runs.values())))
    for name, made in runs.items():
        apart = difference(made, first)
        yield f"| {name} | " + " | ".join(f"{loss:.6f}" for loss in losses(made)) + f" | {apart:.1e} |"


def difference(made, first):
    return max(abs(a - b) for run in made for (a, _), b in zip(run[0], first))


def disagreeing(runs):
    first = losses(next(iter(runs.values())))
    return [name for name, made in runs.items() if "bf16" not in name and not difference(made, first) <= APART]


def floor_lines(options, runs, gemm):
    config = json.loads((options.model / "config.json").read_text())
    parts, used = step_gflop(config), options.gemm_rate or gemm
    total = sum(parts.values())
    yield from (f"- {name}: {count:.1f} GFLOP" for name, count in parts.items())
    given = " (given; measured: {:.0f})".format(gemm) if options.gemm_rate else " (best of torch and numpy in this run)"
    yield f"- together {total:.0f} GFLOP a step; f32 GEMM 1280 × 576 × 1536 on {options.threads} threads: {used:.0f} GFLOP/s{given}"
    seconds = total / used
    yield f"- **floor: {seconds:.2f} s/step, {1792 / seconds:.0f} tokens/s**"
    wanted = {name: TARGETS[name] * median(map(rate, made)) for name, made in runs.items() if name in TARGETS}
    beyond = {name: speed for name, speed in wanted.items() if speed > 1792 / seconds}
    yield from (f"- the target beside {name}, {speed:.0f} tokens/s, is beyond the floor" for name, speed in beyond.items())
    if "obvert" in runs:
        yield f"- obvert reaches {median(map(rate, runs['obvert'])) * seconds / 1792:.0%} of the floor"


def report(options, runs, gemm, started_on):
    what = f"{options.rounds} rounds by turns, {options.steps} steps each of which the first is dropped, {options.threads} threads"
    yield f"# Training, side by side\n\n{started_on}\n\n{what}; medians. 4 pairs × 2 × (128 + 96) tokens a step. `../peers/README.md` says how.\n"
    yield from speed_table(runs)
    yield ""
    yield from loss_table(runs)
    yield f"\nAll but bf16 must agree to {APART}."
    if left_out := CONTENDERS.keys() - runs.keys():
        yield f"Not run: {', '.join(sorted(left_out))}{f' ({options.because})' if options.because else ''}."
    yield "\nThe floor, prompts shared:\n"
    yield from floor_lines(options, runs, gemm)


def main():
    options, started_on = arguments(), machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        machine.run([options.python, HERE / "pairs.py", "--model", options.model, "--out", work], options.threads)
        runs, gemm = measure(options, work)
    text = "\n".join(report(options, runs, gemm, started_on)) + "\n"
    machine.result_path("train").write_text(text)
    print(text)
    if apart := disagreeing(runs):
        sys.exit(f"the losses of {', '.join(apart)} differ by more than {APART}")


if __name__ == "__main__":
    main()
