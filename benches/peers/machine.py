"""Runs one contender and says on what machine; standard library only, so that the driver itself stays small."""

import datetime
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path


def cpu():
    """The CPU's name, and its flags."""
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    return name[1].strip() if name else "unknown CPU", flags[1].split() if flags else []


def describe():
    name, flags = cpu()
    has = ", ".join(f"{flag}{'' if flag in flags else ' absent'}" for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16"))
    load = os.getloadavg()[0]
    return f"{name}, {os.cpu_count()} cores; {has}. Load average at the start (should be near 0): {load:.2f}."


def result_path(kind):
    slug = re.sub(r"[^A-Za-z0-9]+", "-", cpu()[0]).strip("-")
    folder = Path(__file__).resolve().parent.parent / "results"
    folder.mkdir(exist_ok=True)
    return folder / f"{kind}-{datetime.date.today()}-{slug}.md"


def environment(threads):
    """One thread count for every library; numpy's BLAS does not know every CPU with AVX-512 as one."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    wide = {"OPENBLAS_CORETYPE": "SkylakeX"} if "avx512f" in cpu()[1] else {}
    return {**os.environ, **wide, **dict.fromkeys(names, str(threads))}


def run(command, threads):
    """Lines of standard output with the time at which each came, and the peak resident memory in MB (10^6 bytes).

    The kernel counts the peak (wait4), the same way for everyone."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(threads))
        lines = [(time.perf_counter(), line) for line in child.stdout]
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status  # it is gone: Popen must not wait for it again
        if status:
            errors.seek(0)
            raise SystemExit(f"failed: {' '.join(words)}\n{errors.read()[-2000:]}")
    return lines, usage.ru_maxrss * 1024 / 1e6
