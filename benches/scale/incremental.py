"""What a small edit costs beside a full run: one verdict corrected, one profile of 1,000 edited, while a run follows its inputs.

python incremental.py [--obvert target/release/obvert] [--profiles 1000] [--personas 20] [--out FOLDER]

1,000 profiles x 20 personas x 5 turns are 100,000 turns. The clock runs from the moment the edited file is in place to the last
line of the changelog's commit, as a reader of the changelog sees it. Standard library only."""

import argparse
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from reference import prepare, profile, write

SINK = """
[stage.pairs]
type = "pairs"
from = "verify"
"""


class Run:
    def __init__(self, options, folder):
        self.folder, self.changes = folder, folder / "out/pairs/changes.jsonl"
        command = [options.obvert, "run", "pipeline.toml", "--out", "out", "--watch", "--workers", str(options.workers)]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def size(self):
        return self.changes.stat().st_size if self.changes.exists() else 0

    def quiet(self, before, seconds=1.0):
        """Waits until the changelog has grown and then rests; when it last grew, and what it grew by."""
        known, last = before, None
        while last is None or time.perf_counter() - last < seconds:
            assert self.process.poll() is None, "the run has ended"
            size = self.size()
            if size != known:
                known, last = size, time.perf_counter()
            time.sleep(0.0002)
        with self.changes.open("rb") as file:
            file.seek(before)
            return last, [json.loads(line) for line in file.read().splitlines()]

    def calls(self):
        with (self.folder / "calls.log").open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))

    def end(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait()


def correction(pair):
    """The opposite of what was judged of the chosen response."""
    constraint, sample = pair["constraints"][0], pair["provenance"]["chosen_sample"]
    place = {"dialogue": pair["dialogue"], "turn": pair["turn"], "sample": sample}
    return {**place, "constraint": constraint["id"], "satisfied": constraint["chosen"] != "yes"}


def edited(run, name, rows):
    """Seconds until the changelog has what an edit changes, the changes, and the calls that were made."""
    before, calls = run.size(), run.calls()
    begin = write(run.folder / name, rows)
    end, changes = run.quiet(before)
    return end - begin, changes, run.calls() - calls


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--obvert", default=str(Path(__file__).resolve().parents[2] / "target/release/obvert"))
    options.add_argument("--profiles", type=int, default=1000)
    options.add_argument("--personas", type=int, default=20)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--corrections", type=int, default=11)
    options.add_argument("--out", type=Path)
    options = options.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="obvert-incremental-"))
    prepare(folder, SINK, options.profiles, options.personas, samples=2, log='log = "calls.log"')
    begin = time.perf_counter()
    run = Run(options, folder)
    last, first = run.quiet(0, 20)
    full, calls = last - begin, run.calls()
    print(json.dumps({"part": "incremental, full run", "seconds": full, "calls": calls, "pairs": len(first)}), flush=True)
    print(json.dumps(correct(run, options, first, full)), flush=True)
    print(json.dumps(edit_profile(run, options, calls, full)), flush=True)
    run.end()


def correct(run, options, pairs, full):
    """Overrules verdicts one by one."""
    took, made, others, corrections = [], 0, 0, []
    for n in range(options.corrections):
        pair = pairs[len(pairs) * (n + 1) // (options.corrections + 2)]
        corrections.append(correction(pair))
        seconds, changes, calls = edited(run, "corrections.jsonl", corrections)
        took.append(seconds)
        made += calls
        others += sum((row["dialogue"], row["turn"]) != (pair["dialogue"], pair["turn"]) for row in changes)
    return {
        "part": "incremental, a verdict corrected", "times": len(took), "ms_median": 1e3 * median(took), "ms_most": 1e3 * max(took),
        "calls": made, "pairs_of_other_turns": others, "full_run_is_times": full / median(took),
    }  # fmt: skip


def edit_profile(run, options, calls, full):
    """Edits one in the middle."""
    rows = [profile(n) for n in range(options.profiles)]
    rows[len(rows) // 2] = profile(len(rows) // 2, " You are new here.")
    seconds, changes, made = edited(run, "profiles.jsonl", rows)
    return {
        "part": "incremental, a profile edited", "ms": 1e3 * seconds, "calls": made, "calls_of_a_profile": calls / options.profiles,
        "changes": len(changes), "full_run_is_times": full / seconds,
    }  # fmt: skip


if __name__ == "__main__":
    main()
