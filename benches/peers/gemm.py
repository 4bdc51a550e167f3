"""Prints the best f32 GEMM rate that torch and numpy reach on the workload's commonest shape: x W^T, 1280 rows, 576 to 1536."""

import argparse
import json
import os
import time

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--threads", type=int, default=2)
options.add_argument("--seconds", type=float, default=3.0, help="for each library")
options = options.parse_args()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(options.threads)

import numpy as np
import torch

ROWS, INNER, COLUMNS = 1280, 576, 1536


def best_gflops(multiply):
    best, end = float("inf"), time.perf_counter() + options.seconds
    while (start := time.perf_counter()) < end:
        multiply()
        best = min(best, time.perf_counter() - start)
    return 2 * ROWS * INNER * COLUMNS / best / 1e9


def with_numpy():
    x, w = np.ones((ROWS, INNER), np.float32), np.ones((COLUMNS, INNER), np.float32)
    out = np.empty((ROWS, COLUMNS), np.float32)
    return best_gflops(lambda: np.matmul(x, w.T, out=out))


def with_torch():
    torch.set_num_threads(options.threads)
    x, w, out = torch.ones(ROWS, INNER), torch.ones(COLUMNS, INNER), torch.empty(ROWS, COLUMNS)
    return best_gflops(lambda: torch.mm(x, w.T, out=out))


print(json.dumps({"torch_gflops": with_torch(), "numpy_gflops": with_numpy()}))
