"""Prints what torch with peft gives where `obvert logprobs` prints its own: python logprobs.py MODEL BATCH ADAPTER..."""

import json
import sys

from common import adapted, base, logprobs, pairs

model, batch, *adapters = sys.argv[1:]
batch = pairs(batch)
reference = logprobs(base(model), batch)
print(json.dumps([{"policy": logprobs(adapted(model, path), batch), "reference": reference} for path in adapters]))
