"""What the streaming peers share: their options, what all must agree on, and the line that they print."""

import argparse
import hashlib
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

MASK = 0xFFFF_FFFF
TAG = "note: "
COLUMNS = ("key", "count", "sum", "max_words", "chars")


def parser(doc):
    options = argparse.ArgumentParser(description=doc)
    options.add_argument("--work", choices=("reduce", "join"), required=True)
    options.add_argument("--input", type=Path, required=True)
    options.add_argument("--dims", type=Path, required=True)
    options.add_argument("--out", type=Path, required=True, help="where the rows of reduce go")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--batch", type=int, default=1000)
    options.add_argument("--memory", action="store_true", help="records are Python objects before the clock starts")
    return options


def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def count_lines(path):
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def joined_number(record):
    """What a joined record adds to the checksum."""
    return record["value"] + len(record["id"]) + len(record["text"]) + len(record["label"])


def joined_result(count, total):
    return f"{count} records {total % (1 << 64)}"


def rows_result(path):
    """A digest of reduce's rows in the order of their keys; what a log of changes took back does not count."""
    rows = set()
    for row in read_jsonl(path):
        (rows.add if row.get("diff", 1) > 0 else rows.remove)(tuple(row[name] for name in COLUMNS))
    lines = "\n".join(" ".join(map(str, row)) for row in sorted(rows))
    return f"{len(rows)} rows {hashlib.sha256(lines.encode()).hexdigest()[:16]}"


def report(engine, options, seconds, peak_mb, result):
    """One JSON line; the total goes from the start of the process, so it has the imports."""
    import psutil

    print(json.dumps({
        "engine": engine, "version": version(engine), "work": options.work, "workers": options.workers,
        "batch": options.batch, "memory": options.memory, "records": count_lines(options.input),
        "seconds": round(seconds, 4), "seconds_total": round(time.time() - psutil.Process().create_time(), 4),
        "peak_rss_mb": round(peak_mb, 1), "result": result,
    }), flush=True)


if __name__ == "__main__":
    print(rows_result(sys.argv[1]))
