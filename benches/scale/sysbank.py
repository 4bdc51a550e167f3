"""SysBank's size, and how it grows: 3,000 and 30,000 profiles, the larger run killed once in the middle and gone on with.

python sysbank.py [--scale target/release/obvert-scale] [--profiles 3000 30000] [--out FOLDER]

Memory is the resident set as the system counts it, sampled over all of both parts. Standard library only."""

import argparse
import json
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from reference import PER_PROFILE, prepare

SINK = """
[stage.train]
type = "count"
from = "verify"
"""


def arguments():
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--scale", default=str(Path(__file__).resolve().parents[2] / "target/release/obvert-scale"))
    made.add_argument("--profiles", type=int, nargs="+", default=[3_000, 30_000])
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--out", type=Path)
    return made.parse_args()


def resident(pid):
    """MB, or nothing where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS")), None)


def disk(folder):
    """MB that files take."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 1e6


def run(options, folder, kill_after=None):
    """Seconds, memory seen, and the line it printed: none where it was killed."""
    begin, seen, most = time.perf_counter(), [], 0
    command = [options.scale, "sysbank", str(folder / "pipeline.toml"), "--out", str(folder / "out"), "--workers", str(options.workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()))
    reader.start()
    while process.poll() is None:
        seen.append(resident(process.pid) or 0)
        if kill_after and time.perf_counter() - begin > kill_after:
            process.kill()
        if len(seen) % 50 == 0:
            most = max(most, disk(folder))
        time.sleep(0.1)
    reader.join()
    seconds, text = time.perf_counter() - begin, output[0].strip()
    assert text or kill_after, "the run failed"
    return seconds, seen, max(most, disk(folder)), json.loads(text) if text else None


def quarters(seen):
    size = max(1, -(-len(seen) // 4))
    return [max(seen[at : at + size]) for at in range(0, len(seen), size)]


def show(part, profiles, line, seen, most, **more):
    memory = {"peak_mb": max(seen), "mb_by_quarter": quarters(seen), "disk_mb": most}
    print(json.dumps({"part": part, "profiles": profiles, **line, "verdicts": PER_PROFILE * line["responses"], **memory, **more}), flush=True)


def main():
    options = arguments()
    root = options.out or Path(tempfile.mkdtemp(prefix="obvert-sysbank-"))
    for profiles in options.profiles:
        folder = root / str(profiles)
        prepare(folder, SINK, profiles, personas=1, samples=5)
        _, seen, most, whole = run(options, folder)
        show("sysbank", profiles, whole, seen, most)
        shutil.rmtree(folder / "out")
    before, *_ = run(options, folder, kill_after=whole["seconds"] / 2)
    _, seen, most, line = run(options, folder)
    same = all(line[key] == whole[key] for key in ("responses", "pairs", "checksum"))
    show("sysbank, killed and gone on", profiles, line, seen, most, seconds_before=before, same=same)


if __name__ == "__main__":
    main()
