"""A decoder with low-rank adapters in plain PyTorch, as one writes it by hand for speed: fused norms and attention, frozen
weights in bf16, the adapter in f32 (or bf16), no hooks and no copies. Called as transformers' models are."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from task import ALPHA, RANK


def frozen(*shape, deviation, like):
    return nn.Parameter(torch.empty(*shape, **like).normal_(0, deviation), requires_grad=False)


class Linear(nn.Module):
    """y = x Wᵀ + b + alpha/r · (x Aᵀ) Bᵀ."""

    def __init__(self, inner, out, like, lora_dtype, bias=False):
        super().__init__()
        self.weight = frozen(out, inner, deviation=inner**-0.5, like=like)
        self.bias = frozen(out, deviation=0.1, like=like) if bias else None
        learnt = {**like, "dtype": lora_dtype}
        self.a = nn.Parameter(torch.empty(RANK, inner, **learnt).uniform_(-(inner**-0.5), inner**-0.5))
        self.b = nn.Parameter(torch.zeros(out, RANK, **learnt))

    def forward(self, x):
        s = F.linear(x, self.a.to(x.dtype)) * (ALPHA / RANK)
        return F.linear(x, self.weight, self.bias) + F.linear(s, self.b.to(x.dtype))


class Block(nn.Module):
    def __init__(self, config, like, lora_dtype):
        super().__init__()
        hidden, mlp, self.d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
        query, key = (config[f"num_{kind}_heads"] * self.d for kind in ("attention", "key_value"))
        biased = config["model_type"] == "qwen2"
        self.eps = config["rms_norm_eps"]
        self.norms = nn.ParameterList(nn.Parameter(torch.ones(hidden, **like), requires_grad=False) for _ in range(2))
        self.q, self.k, self.v = (Linear(hidden, out, like, lora_dtype, biased) for out in (query, key, key))
        self.o = Linear(query, hidden, like, lora_dtype)
        self.gate, self.up = (Linear(hidden, mlp, like, lora_dtype) for _ in range(2))
        self.down = Linear(mlp, hidden, like, lora_dtype)

    def norm(self, x, which):
        return F.rms_norm(x, x.shape[-1:], self.norms[which], self.eps)

    def attend(self, x, angles):
        q, k, v = (made(x).unflatten(-1, (-1, self.d)).transpose(1, 2) for made in (self.q, self.k, self.v))
        q, k = turned(q, *angles), turned(k, *angles)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o(attended.transpose(1, 2).flatten(2))

    def forward(self, x, angles):
        x = x + self.attend(self.norm(x, 0), angles)
        normed = self.norm(x, 1)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


def turned(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Decoder(nn.Module):
    def __init__(self, config, device, lora_dtype=torch.float32):
        super().__init__()
        like = {"device": device, "dtype": torch.bfloat16}
        vocabulary, hidden = config["vocab_size"], config["hidden_size"]
        self.config, self.checkpointed = config, False
        self.embed, self.head = (frozen(vocabulary, hidden, deviation=hidden**-0.5, like=like) for _ in range(2))
        self.blocks = nn.ModuleList(Block(config, like, lora_dtype) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.Parameter(torch.ones(hidden, **like), requires_grad=False)

    @property
    def device(self):
        return self.embed.device

    def angles(self, length):
        half = self.config["head_dim"] // 2
        rates = self.config["rope_theta"] ** (-torch.arange(half, device=self.device) / half)
        angles = torch.arange(length, device=self.device)[:, None] * rates.repeat(2)
        return angles.cos().to(self.embed.dtype), angles.sin().to(self.embed.dtype)

    def forward(self, input_ids, logits_to_keep, **_):
        """Logits at the places `logits_to_keep` only."""
        x, angles = F.embedding(input_ids, self.embed), self.angles(input_ids.shape[1])
        for block in self.blocks:
            x = checkpoint(block, x, angles, use_reentrant=False) if self.checkpointed else block(x, angles)
        x = F.rms_norm(x[:, logits_to_keep], x.shape[-1:], self.norm, self.config["rms_norm_eps"])
        return SimpleNamespace(logits=F.linear(x, self.head))
