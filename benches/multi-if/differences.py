"""Differences between models on Multi-IF, with 95 % intervals, from what `obvert eval multi-if --verdicts FILE` writes.

Usage: python differences.py VERDICTS MODEL... (each less the first, and the last less the one before it). No packages needed.

Drawn with replacement, 2,000 times, are the prompts that conversations begin with, each with all of its conversations, the same for
both models of a difference: what makes a conversation hard falls out of it, and conversations that share their first answer, as those
of one prompt do (the same question with the same seed), are not taken for independent.
"""

import json
import random
import sys
from collections import defaultdict

DRAWS, SEED, STEPS = 2000, 20221172, 3


def counts(row):
    """What is satisfied of an answer, and out of how much: prompt and instructions, strictly and loosely."""
    return [pair for said in (row["strict"], row["loose"]) for pair in ((all(said), 1), (sum(said), len(said)))]


def scores(conversations):
    """The score of each step, and their mean."""
    sums = [[[0, 0] for _ in range(4)] for _ in range(STEPS)]
    for turns in conversations:
        for turn, row in turns.items():
            for total, (part, whole) in zip(sums[turn - 1], row):
                total[0] += part
                total[1] += whole
    steps = [sum(part / whole for part, whole in step) / 4 if step[0][1] else None for step in sums]
    known = [score for score in steps if score is not None]
    return [*steps, sum(known) / len(known)]


def difference(one, other, keys):
    """One's scores less the other's: value, low, high for each."""
    rng = random.Random(SEED)
    prompts = defaultdict(list)
    for key in keys:
        prompts[key.split(":")[0]].append(key)
    prompts = list(prompts.values())

    def less(drawn):
        pairs = zip(scores(one[key] for key in drawn), scores(other[key] for key in drawn))
        return [a - b for a, b in pairs]

    drawn = [less(sum(rng.choices(prompts, k=len(prompts)), [])) for _ in range(DRAWS)]
    columns = [sorted(column) for column in zip(*drawn)]
    return [(v, c[int(0.025 * DRAWS)], c[int(0.975 * DRAWS)]) for v, c in zip(less(keys), columns)]


def main(path, *models):
    rows = defaultdict(lambda: defaultdict(dict))
    for line in open(path):
        row = json.loads(line)
        rows[row["model"]][row["key"]][row["turn"]] = counts(row)
    keys = sorted(set.intersection(*(set(rows[model]) for model in models)))
    pairs = [(model, models[0]) for model in models[1:]] + [(models[-1], models[-2])] * (len(models) > 2)
    print(f"{len(keys)} conversations; steps 1 to {STEPS}, then the mean")
    for one, other in pairs:
        found = difference(rows[one], rows[other], keys)
        print(f"{one} - {other}: " + "  ".join(f"{v:+.3f} [{low:+.3f}, {high:+.3f}]" for v, low, high in found))


if __name__ == "__main__":
    main(*sys.argv[1:])
