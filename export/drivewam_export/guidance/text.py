"""`text_encode`: the encoder of UMT5 over a fixed number of rows."""

from __future__ import annotations

import torch
from torch import nn

from ..onnx_graphs.graphs import Graph

FILE = "text_encode.safetensors"


class TextEncode(nn.Module):
    """`model`: a `UMT5EncoderModel`. `rows`: T.

    The graph computes the relative position bias, which depends only on T and on the weights. Its
    buckets are a constant of 2T numbers (the difference of two positions modulo 2T), so that the
    graph holds no [T, T] table.
    """

    def __init__(self, model: nn.Module, rows: int):
        super().__init__()
        self.model, self.rows = model, rows
        offset = torch.arange(2 * rows)
        offset = torch.where(offset < rows, offset, offset - 2 * rows)
        self.register_buffer(
            "buckets",
            model.encoder.block[0].layer[0].SelfAttention._relative_position_bucket(offset),
            persistent=False,
        )

    def position_bias(self, attention: nn.Module) -> torch.Tensor:
        """Bias [H, T, T]: row i, column j has the bias of the difference j - i. A row of 2T
        differences, repeated and cut to 2T - 1, shifts by one per row."""
        t = self.rows
        heads, row = (
            attention.n_heads,
            attention.relative_attention_bias.weight[self.buckets].transpose(0, 1),
        )
        return (
            row[:, None]
            .expand(heads, t, 2 * t)
            .reshape(heads, -1)[:, : t * (2 * t - 1)]
            .reshape(heads, t, 2 * t - 1)[..., :t]
        )

    def forward(self, ids, pad_bias):
        """`ids` [T], integers in f32; `pad_bias` [T], 0 or MASKED (padding). Returns [T, Dt]; the
        rows of padding are meaningless."""
        x = self.model.shared(ids.to(torch.int64))
        for block in self.model.encoder.block:
            attention, rows = block.layer[0].SelfAttention, block.layer[0].layer_norm(x)
            heads, width = attention.n_heads, attention.key_value_proj_dim
            q, k, v = (
                project(rows).reshape(-1, heads, width).transpose(0, 1)
                for project in (attention.q, attention.k, attention.v)
            )
            # T5 does not scale scores.
            scores = q @ k.transpose(-1, -2) + (self.position_bias(attention) + pad_bias)
            x = x + attention.o((scores.softmax(-1) @ v).transpose(0, 1).reshape(-1, heads * width))
            x = block.layer[1](x)
        return self.model.encoder.final_layer_norm(x)


def text_graph(model: nn.Module, rows: int) -> Graph:
    inputs = {
        "ids": (torch.arange(rows) % model.config.vocab_size).float(),
        "pad_bias": torch.zeros(rows),
    }
    return Graph("text_encode", TextEncode(model, rows), "model.", FILE, inputs, ["text"])
