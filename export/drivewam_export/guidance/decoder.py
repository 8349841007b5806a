"""`vlm_decoder`: the language model of Qwen3-VL with external KV memory.

One graph serves prefill (N rows) and decode (one row). The rows of a pass see the memory, as
`mem_bias` allows, and the earlier rows of the pass. The graph returns the new rows of keys and
values; the caller scatters them into free slots, in any order: keys carry their position, and
attention does not depend on where a row is stored.
"""

from __future__ import annotations

import torch
from torch import nn

from ..bias import MASKED
from ..folder import ExportError
from ..onnx_graphs.graphs import Graph, layered

FILE = "vlm_decoder.safetensors"


def rotate_halves(x, rope, width: int):
    """Rotates the pairs (j, j + Dh/2) of the last axis of `x` [..., N, Dh] by `rope` [N, Dh/2, 2]
    (cos, sin). The policy's `rotate` pairs neighbours; these are the pairs of the checkpoint, whose
    weights are not permuted. `width`: Dh, a constant of the trace."""
    cos, sin = rope[..., 0], rope[..., 1]
    first, second = x[..., : width // 2], x[..., width // 2 :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def causal_bias(rows):
    """Bias [N, N]: MASKED above the diagonal, for the N of `rows` [N, ...]."""
    index = torch.arange(rows.shape[0])
    return (index[None, :] > index[:, None]).to(torch.float32) * MASKED


class Decoder(nn.Module):
    """`model`: a `Qwen3VLForConditionalGeneration`, or a module with the same parts (smollm2.py).
    Queries and keys have norms where the checkpoint's class has them."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        config = model.config.text_config
        self.layers, self.kv_heads, self.head_dim = (
            config.num_hidden_layers,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.group = config.num_attention_heads // self.kv_heads
        self.levels = len(model.config.vision_config.deepstack_visual_indexes)
        if self.levels > self.layers:
            raise ExportError(
                f"{self.levels} deepstack levels; the language model has {self.layers} layers, wanted at most one level for each"
            )

    def attend(self, attention: nn.Module, rows, rope, bias, mem_k, mem_v):
        """`rows` [N, D]; `bias` [G*N, S + N]; `mem_k`, `mem_v` [Hkv, S, Dh]. Returns [N, D] and the
        new keys and values [Hkv, N, Dh].

        The queries of a head group are stacked as rows [Hkv, G*N, Dh], so that each key head is
        read once and none is copied. Scores are concatenated, not keys.
        """
        heads, group, width, slots = self.kv_heads, self.group, self.head_dim, mem_k.shape[1]
        norm_q, norm_k = (getattr(attention, name, nn.Identity()) for name in ("q_norm", "k_norm"))
        q = norm_q(attention.q_proj(rows).reshape(-1, heads, group, width)).permute(1, 2, 0, 3)
        k = norm_k(attention.k_proj(rows).reshape(-1, heads, width)).transpose(0, 1)
        v = attention.v_proj(rows).reshape(-1, heads, width).transpose(0, 1)
        q, k = (
            (rotate_halves(q, rope, width) * attention.scaling).reshape(heads, -1, width),
            rotate_halves(k, rope, width),
        )
        weights = (
            torch.cat([q @ mem_k.transpose(-1, -2), q @ k.transpose(-1, -2)], -1) + bias
        ).softmax(-1)
        out = weights[..., :slots] @ mem_v + weights[..., slots:] @ v
        out = (
            out.reshape(heads, group, -1, width)
            .permute(2, 0, 1, 3)
            .reshape(-1, heads * group * width)
        )
        return attention.o_proj(out), k, v

    def forward(self, ids, image, is_image, *rest):
        """Returns logits [V] of the last row, and per layer the new keys (after norm and rope) and
        values [Hkv, N, Dh].

        `ids` [N], integers in f32; `image` [N, D] and `is_image` [N]: the rows that are image
        embeddings; then `deepstack.i` [N, D], `rope` [N, Dh/2, 2], `mem_bias` [S], and per layer
        `mem_k.l`, `mem_v.l` [Hkv, S, Dh]. Rows of `image` and `deepstack` whose `is_image` is 0
        have no effect.
        """
        deepstack, (rope, mem_bias, *mem) = rest[: self.levels], rest[self.levels :]
        language, blend = self.model.model.language_model, is_image[:, None]
        x = language.embed_tokens(ids.to(torch.int64)) * (1 - blend) + image * blend
        bias = torch.cat([mem_bias[None, :].expand(x.shape[0], -1), causal_bias(x)], -1).repeat(
            self.group, 1
        )
        outputs = []
        for index, layer in enumerate(language.layers):
            rows, k, v = self.attend(
                layer.self_attn,
                layer.input_layernorm(x),
                rope,
                bias,
                mem[2 * index],
                mem[2 * index + 1],
            )
            outputs += [k, v]
            x = x + rows
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            if index < self.levels:
                x = x + deepstack[index] * blend
        return (self.model.lm_head(language.norm(x[-1:]))[0], *outputs)


def decoder_inputs(
    model: nn.Module, rows: int, slots: int, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Random inputs of the graph: the first half of the rows is an image, a quarter of the slots is
    empty."""
    c, generator = model.config.text_config, torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.randn(*shape, generator=generator)
    angles = rand(rows, c.head_dim // 2) * 6
    index = torch.arange(rows)
    out = {
        "ids": (index % c.vocab_size).float(),
        "image": rand(rows, c.hidden_size),
        "is_image": (index < rows // 2).float(),
    }
    out |= {
        f"deepstack.{i}": rand(rows, c.hidden_size)
        for i in range(len(model.config.vision_config.deepstack_visual_indexes))
    }
    out |= {
        "rope": torch.stack([angles.cos(), angles.sin()], -1),
        "mem_bias": torch.where(torch.arange(slots) % 4 == 3, MASKED, 0.0),
    }
    return out | {
        name: rand(c.num_key_value_heads, slots, c.head_dim)
        for name in layered(["mem_k", "mem_v"], c.num_hidden_layers)
    }


def decoder_graph(model: nn.Module) -> Graph:
    inputs = decoder_inputs(model, 6, 8)
    outputs = layered(["k", "v"], model.config.text_config.num_hidden_layers)
    dynamic = {name: {0: "N"} for name in inputs if not name.startswith("mem_")}
    dynamic |= {"mem_bias": {0: "S"}} | {
        name: {1: "S"} for name in inputs if name.startswith(("mem_k", "mem_v"))
    }
    dynamic |= {name: {1: "N"} for name in outputs}
    return Graph(
        "vlm_decoder",
        Decoder(model),
        "model.",
        FILE,
        inputs,
        ["logits", *outputs],
        dynamic,
        "scores_concatenated",
    )
