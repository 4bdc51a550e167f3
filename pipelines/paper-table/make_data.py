"""Makes the profiles of the comparison, in the quickstart's little world.

    python make_data.py --seed 1

writes `train`, `validation` and `test` beside this file, with 2 to 8 constraints in equal parts, half of them positive
("use a comma"), half negative ("use no comma"); and `train-N`, `test-N` with N % positive ones. Which of the rows of
`train` a run learns from is drawn by its seed.
"""

import argparse
import gzip
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "quickstart"))

from grammar import TOPICS, compose, crowded, sample_constraints
from make_model import HELDOUT_NAMES, NAMES, description


def demands(rng, k, positive):
    """k demands, each wanted with probability `positive`, that can be met about any topic."""
    while True:
        found = [replace(c, wanted=rng.random() < positive) for c in sample_constraints(rng, k)]
        if not crowded(found) and all(compose(rng, topic, found) for topic in rng.sample(list(TOPICS), 6)):
            return found


def profiles(rng, count, names, prefix, positive, seen):
    """Profiles whose sets of demands differ from one another and from those `seen`."""
    made = []
    while len(made) < count:
        constraints = demands(rng, 2 + len(made) % 7, positive)
        if frozenset(constraints) in seen:
            continue
        seen.add(frozenset(constraints))
        described = description(rng, names)
        name = next(n for n in names if n in described.replace(".", " ").replace(",", " ").split())
        items = [{"id": f"c{i + 1}", "text": c.text(rng.random() < 0.2), "check": c.json()} for i, c in enumerate(constraints)]
        made.append({"id": f"{prefix}{len(made) + 1:03}", "name": name, "description": described, "skills": [], "constraints": items})
    return made


def write(name, rows):
    # No time stamp: the same rows make the same file.
    with gzip.GzipFile(HERE / f"{name}.jsonl.gz", "wb", mtime=0) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    rng = random.Random(parser.parse_args().seed + 2000)
    seen = set()
    for suffix, positive in (("", 0.5), ("-70", 0.7), ("-90", 0.9)):
        write(f"train{suffix}", profiles(rng, 420, NAMES, "p", positive, seen))
        if not suffix:
            write("validation", profiles(rng, 70, HELDOUT_NAMES, "v", positive, seen))
        write(f"test{suffix}", profiles(rng, 280, HELDOUT_NAMES, "h", positive, seen))


if __name__ == "__main__":
    main()
