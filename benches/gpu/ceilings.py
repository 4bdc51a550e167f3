"""The card's ceilings by PyTorch, to hold obvert's own against: a large copy, and the product of two large matrices, alone
and for as long as steps multiply."""

import argparse
import json
import time
from statistics import median

import torch

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--device", default="cuda")
options.add_argument("--tiny", action="store_true", help="small sizes, to try it")
options = options.parse_args()
SIZE, VALUES, TIMES = (64, 1 << 16, 2) if options.tiny else (8192, 1 << 31, 10)
# Products in a row, a quarter of a second of them: long enough for the card to lower its clock to what its power allows.
LASTING = 2 if options.tiny else 150


def seconds(run):
    """The median of several runs after three that are not counted."""
    made = []
    for _ in range(3 + TIMES):
        start = time.perf_counter()
        run()
        if options.device != "cpu":
            torch.cuda.synchronize()
        made.append(time.perf_counter() - start)
    return median(made[3:])


def main():
    like = {"device": options.device, "dtype": torch.bfloat16}
    source = torch.randn(VALUES >> 4, **like).repeat(16)
    target = torch.empty_like(source)
    rate = 2 * source.nbytes / seconds(lambda: target.copy_(source)) / 1e9
    print(json.dumps({"ceiling": "memory", "by": "PyTorch, copy", "gb_per_s": round(rate, 1)}))
    a, b, out = (torch.randn(SIZE, SIZE, **like) for _ in range(3))
    rate = 2 * SIZE**3 / seconds(lambda: torch.mm(a, b.T, out=out)) / 1e12
    by = f"PyTorch, {SIZE} x {SIZE} x {SIZE}"
    print(json.dumps({"ceiling": "products", "by": by, "tflop_per_s": round(rate, 1)}))
    lasting = seconds(lambda: [torch.mm(a, b.T, out=out) for _ in range(LASTING)]) / LASTING
    rate = 2 * SIZE**3 / lasting / 1e12
    print(json.dumps({"ceiling": "products that last", "by": by, "tflop_per_s": round(rate, 1)}))


if __name__ == "__main__":
    main()
