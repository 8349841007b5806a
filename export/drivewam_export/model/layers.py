"""Attention and the transformer block, with the parameter names of diffusers' Wan modules.

Rows are `[..., N, C]`; heads are split off as `[..., H, N, D]`. Norms, softmax and modulation are
written in plain operations: the same code is trained, compared with diffusers, and exported.
"""

from __future__ import annotations

from typing import Callable

import torch
from diffusers.models.attention import FeedForward
from torch import nn
from torch.nn import functional as F

from ..config import ModelConfig

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class RmsNorm(nn.Module):
    """Root-mean-square norm over the full width, before the heads are split."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    """The projections of one attention. The caller decides which rows attend to which."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q = RmsNorm(dim, config.eps)
        self.norm_k = RmsNorm(dim, config.eps)

    def split(self, x):
        """[..., N, dim] to [..., H, N, D]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def join(self, x):
        """[..., H, N, D] to the attention's output [..., N, dim]."""
        return self.to_out[0](x.transpose(-3, -2).flatten(-2))

    def query(self, x):
        return self.split(self.norm_q(self.to_q(x)))

    def key_value(self, x):
        return self.split(self.norm_k(self.to_k(x))), self.split(self.to_v(x))


class Block(nn.Module):
    """Self-attention, text cross-attention, ego cross-attention, feed-forward; adaLN with six
    modulations (Wan). The ego branch has no gate."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        dim = config.dim
        self.norm1 = nn.LayerNorm(dim, config.eps, elementwise_affine=False)
        self.attn1 = Attention(config)
        self.norm2 = nn.LayerNorm(dim, config.eps)
        self.attn2 = Attention(config)
        self.norm_ego = nn.LayerNorm(dim, config.eps)
        self.attn_ego = Attention(config)
        self.norm3 = nn.LayerNorm(dim, config.eps, elementwise_affine=False)
        self.ffn = FeedForward(dim, inner_dim=config.ffn_dim, activation_fn="gelu-approximate")
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x, modulation, attend_self: Attend, attend_text, attend_ego):
        """`x` [..., N, dim]; `modulation(table)` returns six [..., N, dim] rows: this block's table
        plus the flow time's projection. `attend_self(q, k, v)`, `attend_text(q)`, `attend_ego(q)`
        return [..., H, N, D]."""
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation(self.scale_shift_table)
        rows = self.norm1(x) * (1 + scale) + shift
        q = self.attn1.query(rows)
        k, v = self.attn1.key_value(rows)
        x = x + self.attn1.join(attend_self(q, k, v)) * gate
        x = x + self.attn2.join(attend_text(self.attn2.query(self.norm2(x))))
        x = x + self.attn_ego.join(attend_ego(self.attn_ego.query(self.norm_ego(x))))
        rows = self.norm3(x) * (1 + ffn_scale) + ffn_shift
        return x + self.ffn(rows) * ffn_gate


def attend(q, k, v, bias=None):
    """Softmax attention [..., H, N, D] over [..., H, M, D] with an additive bias that broadcasts to
    [..., H, N, M]."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def attend_textbook(scaled, k, v, bias=None):
    """Attention of scaled queries [H, N, D] over [H, M, D], in the pattern that TensorRT fuses into
    one kernel.

    NVIDIA's guide (TensorRT documentation, "Fused Attention", formerly "MHA fusion") asks for a
    batch axis, a scale before the first product, and products in half precision. It does not ask
    for a softmax in half precision: Model Optimizer looks for this pattern past Casts
    (`find_mha_partitions`), and TensorRT-RTX 1.7 makes one kernel of it, `_gemm_mha_v2`, with Add
    and Softmax in f32 as well as in half. So softmax stays in f32 (onnx_graphs/precision.py).
    Without the batch axis, cross-attention is not fused; in f32, no attention is.
    """
    scores = scaled.unsqueeze(0) @ k.unsqueeze(0).transpose(-1, -2)
    weights = (scores if bias is None else scores + bias).softmax(-1)
    return (weights @ v.unsqueeze(0)).squeeze(0)
