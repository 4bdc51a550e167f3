"""Computes the streaming workload without an engine, and compares a file of reduce's rows with that.

python stream_check.py --input records.jsonl --dims dims.jsonl --out RIGHT [--rows FILE]
"""

import argparse
import json
import sys
from pathlib import Path

from stream_common import COLUMNS, MASK, TAG, joined_number, joined_result, read_jsonl, rows_result


def mapped(record):
    text = record["text"].lower()
    words = len(text.split(" "))
    return {**record, "words": words, "value": (record["value"] * 3 + words) & MASK, "text": TAG + text}


def reduced(records):
    rows = {}
    for record in records:
        count, total, most, chars = rows.get(record["key"], (0, 0, 0, 0))
        rows[record["key"]] = (count + 1, total + record["value"], max(most, record["words"]), chars + len(record["text"]))
    return [dict(zip(COLUMNS, (key, *row))) for key, row in sorted(rows.items())]


def joined(records, dims):
    table = {row["key"]: row for row in dims}
    for record in records:
        row = table[record["key"]]
        yield {**record, "value": record["value"] * row["weight"], "label": row["label"]}


def expected(records_path, dims_path, rows_path):
    """What every engine must print; the rows of reduce go to a file."""
    records = [mapped(record) for record in read_jsonl(records_path)]
    Path(rows_path).write_text("".join(json.dumps(row) + "\n" for row in reduced(records)))
    numbers = [joined_number(record) for record in joined(records, read_jsonl(dims_path))]
    return {"reduce": rows_result(rows_path), "join": joined_result(len(numbers), sum(numbers))}


def differences(path, other):
    """Rows that are in one of the files only, by key."""
    one, two = ({tuple(row[name] for name in COLUMNS) for row in read_jsonl(file)} for file in (path, other))
    return sorted([(*row, "only in the first") for row in one - two] + [(*row, "only in the second") for row in two - one])


def main():
    options = argparse.ArgumentParser(description=__doc__)
    for name in ("--input", "--dims"):
        options.add_argument(name, required=True)
    options.add_argument("--rows", help="rows of reduce to compare")
    options.add_argument("--out", required=True, help="where the right rows go")
    options = options.parse_args()
    print(json.dumps(expected(options.input, options.dims, options.out)))
    if options.rows and (apart := differences(options.out, options.rows)):
        sys.exit("\n".join(map(str, apart[:10])))


if __name__ == "__main__":
    main()
