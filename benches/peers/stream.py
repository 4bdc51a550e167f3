"""Runs the streaming workload in bytewax, pathway and obvert, by turns, and writes a table.

python stream.py [--ours 'CMD {work} {input} {dims} {workers}'] [--python VENV/bin/python]

`{out}`, where rows of reduce go, and `{memory}`, 1 or 0, may stand in the command too; without `{memory}` there is no
figure without reading. The command prints the same JSON line as the peers' scripts; a digest of the rows is made for it.
"""

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path

import machine
from stream_table import report

HERE = Path(__file__).resolve().parent
WORKS = ("reduce", "join")
PEERS = {
    "bytewax, records": ["stream_bytewax.py", "--batch", 1],
    "bytewax, lists of 1,000": ["stream_bytewax.py", "--batch", 1000],
    "pathway": ["stream_pathway.py"],
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", help="the command of obvert")
    parser.add_argument("--python", default=sys.executable, help="of the venv of requirements-stream.txt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--records", type=int, default=200_000)
    return parser.parse_args()


def run(command, workers):
    """The JSON line of one run, with the peak that the kernel counted, or a contender's own sum over its processes."""
    lines, peak = machine.run(command, workers)
    line = json.loads(next(text for _, text in reversed(lines) if text.startswith("{")))
    return {**line, "peak_rss_mb": max(peak, line.get("peak_rss_mb", 0))}


def run_peer(options, files, name, work, workers, *more):
    script, *how = PEERS[name]
    given = [word for file in ("input", "dims", "out") for word in (f"--{file}", files[file])]
    return run([options.python, HERE / script, *given, "--work", work, "--workers", workers, *how, *more], workers)


def run_ours(options, files, _name, work, workers, memory=0):
    line = run(shlex.split(options.ours.format(work=work, workers=workers, memory=memory, **files)), workers)
    if work == "reduce" and "{out}" in options.ours:
        line["result"] = machine.run([options.python, HERE / "stream_common.py", files["out"]], 1)[0][-1][1].strip()
    return line


def checked(run, options, files, name, work, *more):
    """A run whose result is the right one; rows of the run before are not taken for its."""
    files["out"].unlink(missing_ok=True)
    line = run(options, files, name, work, *more)
    if line["result"] not in (files["right"][work], "only read"):
        sys.exit(f"{name}, {work}: {line['result']} instead of {files['right'][work]}")
    return line


def one_round(options, files, work, workers):
    """Contender -> its line with reading, and seconds without: from memory, or, for pathway, less a run that only reads."""
    found = {}
    for name in PEERS:
        line, apart = (
            checked(run_peer, options, files, name, work, workers, *more)
            for more in ((), ("--read-only" if name == "pathway" else "--memory",))
        )
        found[name] = line, line["seconds"] - apart["seconds"] if name == "pathway" else apart["seconds"]
    if options.ours:
        line, *held = (checked(run_ours, options, files, "obvert", work, workers, way) for way in range(1 + ("{memory}" in options.ours)))
        found["obvert"] = line, held[0]["seconds"] if held else None
    return found


def measure(options, files):
    found = {}
    for turn in range(options.rounds):
        for work, workers in ((work, workers) for workers in options.workers for work in WORKS):
            for name, (line, held) in one_round(options, files, work, workers).items():
                found.setdefault((work, workers), {}).setdefault(name, []).append((line, held))
                print(f"round {turn + 1}: {name}: {json.dumps(line)}, without reading {held}", flush=True)
    return found


def main():
    options, started_on = arguments(), machine.describe()
    with tempfile.TemporaryDirectory() as name:
        files = dict(zip(("input", "dims", "out"), (Path(name) / file for file in ("records.jsonl", "dims.jsonl", "rows.jsonl"))))
        machine.run([options.python, HERE / "stream_data.py", "--out", name, "--records", options.records], 1)
        check = ["--input", files["input"], "--dims", files["dims"], "--out", files["out"]]
        files["right"] = json.loads(machine.run([options.python, HERE / "stream_check.py", *check], 1)[0][-1][1])
        found = measure(options, files)
    text = "\n".join(report(options, found, started_on)) + "\n"
    machine.result_path("stream").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
