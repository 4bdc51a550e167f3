"""llama.cpp: reads a prompt, then writes tokens greedily, one stream, and prints both speeds.

It is driven through its C functions, so that nothing but llama.cpp's own work is timed: one llama_decode for the prompt,
then one a token, and an argmax over the logits. A whole run before the timed one warms up. The end token is not obeyed.
"""

import argparse
import json
import time

import llama_cpp
import numpy as np

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--model", required=True, help="a GGUF file")
options.add_argument("--prompt", type=int, default=512)
options.add_argument("--answer", type=int, default=64)
options.add_argument("--threads", type=int, default=2)
options = options.parse_args()


def make():
    """llama_cpp.Llama does the set-up: context, threads, model."""
    size = options.prompt + options.answer
    count = {"n_threads": options.threads, "n_threads_batch": options.threads}
    return llama_cpp.Llama(options.model, n_ctx=size, n_batch=size, n_ubatch=512, verbose=False, **count)


def decode(context, ids):
    """Feeds ids and returns the likeliest next one."""
    array = (llama_cpp.llama_token * len(ids))(*ids)
    assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(ids))) == 0
    return int(np.argmax(np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(vocabulary,))))


def run(context, prompt):
    """Tokens a second of the prompt, and of the answer after its first token, which the prompt's pass already gives."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    start = time.perf_counter()
    token = decode(context, prompt)
    read = time.perf_counter()
    for _ in range(options.answer - 1):
        token = decode(context, [token])
    end = time.perf_counter()
    return {"prefill_tps": len(prompt) / (read - start), "decode_tps": (options.answer - 1) / (end - read), "last": token}


model = make()
vocabulary = model.n_vocab()
ids = np.random.default_rng(1).integers(0, vocabulary, options.prompt).tolist()
run(model.ctx, ids)
print(json.dumps(run(model.ctx, ids)))
