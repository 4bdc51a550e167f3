"""Prints the greatest distance between the logits of a merged folder and of base plus adapter, the greatest between
adapter and no adapter, and the type of the weights: python merged.py MODEL ADAPTER MERGED BATCH"""

import json
import sys

from common import SIDES, adapted, base, logits, pairs
from transformers import AutoConfig, AutoModelForCausalLM

model, adapter, merged, batch = sys.argv[1:]
sequences = [pair["prompt"] + pair[side] for pair in pairs(batch) for side in SIDES]


def distance(a, b):
    return max((logits(a, tokens) - logits(b, tokens)).abs().max().item() for tokens in sequences)


expected = adapted(model, adapter)
off, moved = distance(base(merged), expected), distance(base(model), expected)
dtypes = [AutoConfig.from_pretrained(merged).dtype, AutoModelForCausalLM.from_pretrained(merged, dtype="auto").dtype]
print(json.dumps({"off": off, "moved": moved, "dtypes": [str(dtype) for dtype in dtypes]}))
