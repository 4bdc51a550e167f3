"""Serves a GGUF model with llama.cpp's own server, with a LoRA adapter or without, until its standard input ends.

Usage: python serve.py MODEL ADAPTER|none NAME. Prints its address when it listens.
"""

import sys

import xllamacpp

model, adapter, name = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = model
params.model_alias = {name}
params.port = 0
params.use_jinja = True
params.n_ctx = 4096
params.n_parallel = 1
if adapter != "none":
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 1.0)]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
