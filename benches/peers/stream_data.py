"""Writes the records and the dimension table of the streaming workload: the same bytes for the same seed.

python stream_data.py --out FOLDER    makes FOLDER/records.jsonl and FOLDER/dims.jsonl
"""

import argparse
import json
import random
from pathlib import Path

KEYS = 10_000
# Its capital has no lower-case letter of its own and becomes two characters: a text's length shows whether it was lowered.
GROWS = "İstanbul"


def vocabulary(dice, size=2000):
    """Words of two to ten letters; a few are capitalised and a few are all capitals."""
    syllables = [a + b for a in "bcdfglmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "in")]
    words = ["".join(dice.choices(syllables, k=dice.randint(1, 4)))[:10] for _ in range(size)]
    forms = [str.lower, str.lower, str.lower, str.capitalize, str.upper]
    return [dice.choice(forms)(word) for word in words]


def text_of(dice, words):
    """About 100 characters, words parted by one space; one text in a hundred has a letter beyond ASCII."""
    text = dice.choices(words, k=dice.randint(8, 21))
    if dice.random() < 0.01:
        text[0] = GROWS
    return " ".join(text)


def records(dice, count):
    words = vocabulary(dice)
    for n in range(count):
        # Low keys are likelier: the first has thirty times as many records as the last.
        key = int(KEYS * dice.random() ** 1.5)
        value = dice.randrange(1 << 32)
        yield {"id": f"r{n:06}", "key": f"k{key:04}", "value": value, "text": text_of(dice, words)}


def dimensions(dice):
    rows = [{"key": f"k{key:04}", "weight": dice.randint(1, 1000), "label": f"group {dice.randrange(5000)}"} for key in range(KEYS)]
    dice.shuffle(rows)
    return rows


def write(path, rows):
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--records", type=int, default=200_000)
    options.add_argument("--seed", type=int, default=1)
    options = options.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / "records.jsonl", records(random.Random(options.seed), options.records))
    write(options.out / "dims.jsonl", dimensions(random.Random(options.seed + 1)))


if __name__ == "__main__":
    main()
