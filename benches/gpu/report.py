"""Makes one JSON file and one table, gpu-DATE-CARD, of what `run` left in a folder: python report.py FOLDER

Standard library only. What failed or was skipped is named."""

import argparse
import datetime
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))

from train import step_gflop

MODELS = json.loads((Path(__file__).resolve().parent / "models.json").read_text())
STEP = ("pairs", "prompt", "response", "rank")


# What there is


def rows(folder):
    """The objects among the lines: libraries print others, too."""
    for line in (folder / "results.jsonl").read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def of(kind, made):
    return [row for row in made if kind in row]


def from_logs(folder):
    """Tests that failed, and what tests say they skipped."""
    for log in sorted(folder.glob("*.log")):
        text = log.read_text(errors="replace")
        listed = re.search(r"^failures:\n((?:    .*\n)+)\n?test result", text, re.M)
        yield from (("failed", f"{log.stem}: {name.strip()}") for name in (listed[1].splitlines() if listed else []))
        said = sorted(set(re.findall(r"SKIPPED: (.*)", text)))
        yield from (("skipped", f"{log.stem}: {what}") for what in said if "no C++ compiler" not in what)


def troubles(folder, made):
    for part in of("part", made):
        if part["outcome"] != "passed":
            kind, _, why = part["outcome"].partition(": ")
            yield kind, f"{part['part']}: {why}"
    yield from (("failed", f"{row['kernel']}: {row['error']}") for row in made if "error" in row)
    yield from (("skipped", f"{row['step']}: {row['skipped']}") for row in made if "skipped" in row)
    yield from from_logs(folder)


def collect(folder):
    made = list(rows(folder))
    found = {"date": str(datetime.date.today()), **next(iter(of("card", made)), {"card": "no GPU"})}
    found["ceilings"] = of("ceiling", made)
    found["steps"] = [with_floor(row, products(made)) for row in of("step", made) if "seconds_per_step" in row]
    found["kernels"] = [row for row in of("kernel", made) if "error" not in row]
    found["parts"] = of("part", made)
    for wanted in ("failed", "skipped"):
        found[wanted] = [what for kind, what in troubles(folder, made) if kind == wanted]
    return found


def products(made):
    """The best rate of a large product, TFLOP/s."""
    return max((row["tflop_per_s"] for row in of("ceiling", made) if row["ceiling"] == "products"), default=0)


def with_floor(step, ceiling):
    """The least time that anyone could take, each prompt computed once, and the share of it that is reached."""
    if not ceiling:
        return step
    gflop = sum(step_gflop(MODELS[step["model"]], **{key: step[key] for key in STEP}).values())
    least = gflop / 1e3 / ceiling
    return {**step, "least_seconds": least, "share_of_least": least / step["seconds_per_step"]}


# The table


def share(value):
    return "" if value is None else f"{value:.0%}"


def rate(row):
    return f"{row['gb_per_s']:.0f} GB/s" if "gb_per_s" in row else f"{row['tflop_per_s']:.0f} TFLOP/s"


def head(found):
    yield f"# GPU: {found['card']}\n"
    yield f"{found['date']}, driver {found.get('driver') or 'none'}, commit {found.get('commit', 'unknown')}.\n"
    if found["card"] == "no GPU":
        yield "Without a GPU, in small if at all: no number means anything.\n"
    yield "| ceiling | by | |\n|---|---|---|"
    yield from (f"| {row['ceiling']} | {row['by']} | {rate(row)} |" for row in found["ceilings"])


def step_table(model, steps):
    first, ours = steps[0], [row["seconds_per_step"] for row in steps if row["step"] == "obvert"]
    yield f"\n## A step of {model}\n"
    yield "{pairs} pairs of {prompt} + 2 × {response} tokens, rank {rank}; medians. tokens/s count both full sequences.".format(**first)
    if "least_seconds" in first:
        yield f"The floor, each prompt computed once at the best rate of products: {first['least_seconds']:.2f} s."
    yield "\n| | s/step | tokens/s | packed tokens/s | TFLOP/s | of the floor | of its own floor | card memory, GB | activations | obvert is |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in steps:
        seconds, memory = row["seconds_per_step"], row["card_memory_gb"]
        named = row["step"] if row["pairs"] == first["pairs"] else f"{row['step']}, {row['pairs']} pairs"
        cells = [named, f"{seconds:.3f}", f"{row['tokens_per_s']:.0f}", f"{row['packed_tokens_per_s']:.0f}"]
        cells += [f"{row['tflop_per_s']:.1f}", share(row.get("share_of_least")), share(row["share_of_floor"])]
        cells += [f"{memory:.1f}" if memory else "", row["activations"]]
        cells += [f"{seconds / ours[0]:.2f} ×" if ours and not row["step"].startswith("obvert") else ""]
        yield f"| {' | '.join(cells)} |"


def kernel_table(kernels):
    yield "\n## Kernels\n\n| kernel | shape | ms | rate | of its ceiling |\n|---|---|---|---|---|"
    for row in kernels:
        yield f"| {row['kernel']} | {row['shape']} | {row['milliseconds']:.3f} | {rate(row)} | {share(row['share_of_ceiling'])} |"


def ending(found):
    for kind in ("failed", "skipped"):
        yield f"\n## {kind.capitalize()}\n"
        yield from ([f"- {what}" for what in found[kind]] or ["Nothing."])
    yield "\n" + ", ".join(f"{part['part']} {part['seconds']} s" for part in found["parts"] if "seconds" in part) + "."


def table(found):
    yield from head(found)
    for model in dict.fromkeys(row["model"] for row in found["steps"]):
        yield from step_table(model, [row for row in found["steps"] if row["model"] == model])
    if found["kernels"]:
        yield from kernel_table(found["kernels"])
    yield from ending(found)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    folder = options.parse_args().folder
    found = collect(folder)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", found["card"]).strip("-")
    path = folder / f"gpu-{found['date']}-{slug}"
    text = "\n".join(table(found)) + "\n"
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
