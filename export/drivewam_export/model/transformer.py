"""The denoising transformer: embedders, blocks, heads, and one pass with external memory.

`DriveWam.dit` is the `dit` graph of the contract, `context_text` and `context_ego` are the two
context graphs; `packed` is the same network over a whole teacher-forced training sequence. All four
share every weight. Names follow diffusers' Wan and LingBot-VA where a counterpart exists.
"""

from __future__ import annotations

import math

import torch
from diffusers.models.embeddings import PixArtAlphaTextProjection, TimestepEmbedding
from torch import nn

from ..bias import MASKED
from ..config import ModelConfig
from ..rope import rotate
from .layers import Block, attend, attend_textbook

TIME_STEPS = 1000.0


class Mlp(nn.Module):
    """Two linear layers with SiLU between."""

    def __init__(self, dims: tuple[int, int, int]):
        super().__init__()
        self.linear_1 = nn.Linear(dims[0], dims[1])
        self.linear_2 = nn.Linear(dims[1], dims[2])

    def forward(self, x):
        return self.linear_2(nn.functional.silu(self.linear_1(x)))


class ConditionEmbedder(nn.Module):
    """Embeds the flow time (and, for the video stream, text) at the width of the blocks."""

    def __init__(self, config: ModelConfig, with_text: bool):
        super().__init__()
        half = config.freq_dim // 2
        frequencies = torch.exp(
            -math.log(10000.0) * torch.arange(half, dtype=torch.float32, device="cpu") / half
        )
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.time_embedder = TimestepEmbedding(config.freq_dim, config.dim)
        self.time_proj = nn.Linear(config.dim, 6 * config.dim)
        if with_text:
            self.text_embedder = PixArtAlphaTextProjection(
                config.text.dim, config.dim, act_fn="gelu_tanh"
            )

    def time(self, flow_time):
        """Flow time [...] in [0, 1] to embedding [..., dim] and projection [..., 6, dim]."""
        angles = flow_time[..., None] * TIME_STEPS * self.frequencies
        embedding = self.time_embedder(torch.cat([angles.cos(), angles.sin()], -1))
        return embedding, self.time_proj(nn.functional.silu(embedding)).unflatten(-1, (6, -1))


class DriveWam(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.patch_embedding_mlp = nn.Linear(config.video_channels, config.dim)
        self.action_embedder = Mlp((config.action.channels, config.action_hidden_dim, config.dim))
        self.ego_embedder = Mlp(
            (len(config.ego.features), config.ego_hidden_dim, config.ego.tokens * config.dim)
        )
        self.condition_embedder = ConditionEmbedder(config, with_text=True)
        self.condition_embedder_action = ConditionEmbedder(config, with_text=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.proj_out = nn.Linear(config.dim, config.video_channels)
        self.action_proj_out = Mlp((config.dim, config.action_hidden_dim, config.action.channels))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, config.dim) / config.dim**0.5)
        # On the CPU even when the weights are on `meta`: no checkpoint holds these buffers.
        self.register_buffer(
            "ego_scale", torch.tensor(config.ego.scale, device="cpu"), persistent=False
        )

    # Context: text once per guidance, ego state once per chunk.

    def context_text(self, text):
        """Text rows [..., T, Dt] to per-layer (k, v) [..., H, T, D]."""
        rows = self.condition_embedder.text_embedder(text)
        return [block.attn2.key_value(rows) for block in self.blocks]

    def context_ego(self, ego):
        """Features [..., features] in physical units to per-layer (k, v) [..., H, E, D]."""
        rows = self.ego_embedder(ego / self.ego_scale).unflatten(-1, (self.config.ego.tokens, -1))
        return [block.attn_ego.key_value(rows) for block in self.blocks]

    # Token rows and velocities.

    def embed(self, tokens, is_action):
        """Token rows [..., N, W] to [..., N, dim]. `is_action` [N] blends the two embedders."""
        c = self.config
        video = self.patch_embedding_mlp(tokens[..., : c.video_channels])
        action = self.action_embedder(tokens[..., : c.action.channels])
        return video + is_action[..., None] * (action - video)

    def head(self, x, shift, scale, is_action):
        """Rows to velocities [..., N, W]."""
        c = self.config
        rows = self.norm_out(x) * (1 + scale) + shift
        video = nn.functional.pad(self.proj_out(rows), (0, c.token_width - c.video_channels))
        action = nn.functional.pad(
            self.action_proj_out(rows), (0, c.token_width - c.action.channels)
        )
        return video + is_action[..., None] * (action - video)

    def dit(
        self,
        tokens,
        is_action,
        flow_time,
        rope,
        mem_bias,
        text_bias,
        self_scale,
        mem,
        text,
        ego,
        textbook=False,
    ):
        """One pass: the `dit` graph. `mem`, `text`, `ego` are per-layer (k, v). Returns velocity
        [N, W] and per-layer (k, v, q).

        `textbook` copies the memory: it concatenates keys and values instead of scores
        (attend_textbook). The numbers are the same.
        """
        blend = is_action[:, None]
        video_time, video_proj = self.condition_embedder.time(flow_time[0:1])
        action_time, action_proj = self.condition_embedder_action.time(flow_time[1:2])
        video_action = is_action[None, :] * (1 - is_action[:, None]) * MASKED
        bias = torch.cat([mem_bias[None, :].expand(tokens.shape[0], -1), video_action], -1)

        def modulation(table):
            rows = [(table + proj)[0] for proj in (video_proj, action_proj)]
            return [rows[0][i] + blend * (rows[1][i] - rows[0][i]) for i in range(6)]

        x = self.embed(tokens, is_action)
        outputs = []
        for layer, block in enumerate(self.blocks):

            def attend_self(q, k, v, layer=layer):
                q, k = rotate(q, rope), rotate(k, rope)
                outputs.append((k, v, q))
                scaled = q * self.config.head_dim**-0.5
                if self_scale is not None:
                    scaled = scaled * self_scale[:, None]
                mem_k, mem_v = mem[layer]
                if textbook:
                    return attend_textbook(
                        scaled, torch.cat([mem_k, k], -2), torch.cat([mem_v, v], -2), bias
                    )
                # Concatenates scores, not keys: the memory is never copied.
                slots = mem_k.shape[-2]
                scores = (
                    torch.cat([scaled @ mem_k.transpose(-1, -2), scaled @ k.transpose(-1, -2)], -1)
                    + bias
                )
                weights = scores.softmax(-1)
                return weights[..., :slots] @ mem_v + weights[..., slots:] @ v

            def cross(kv, row_bias=None):
                def run(q):
                    scaled = q * self.config.head_dim**-0.5
                    if textbook:
                        return attend_textbook(scaled, *kv, row_bias)
                    scores = scaled @ kv[0].transpose(-1, -2)
                    return (scores if row_bias is None else scores + row_bias).softmax(-1) @ kv[1]

                return run

            x = block(x, modulation, attend_self, cross(text[layer], text_bias), cross(ego[layer]))
        table = self.scale_shift_table[0]
        video_shift, video_scale = table[0:1] + video_time, table[1:2] + video_time
        action_shift, action_scale = table[0:1] + action_time, table[1:2] + action_time
        shift = video_shift + blend * (action_shift - video_shift)
        scale = video_scale + blend * (action_scale - video_scale)
        return self.head(x, shift, scale, is_action), outputs

    def packed(
        self, layout, tokens, flow_time, self_bias, self_scale, text, text_bias, ego, rope=None
    ):
        """Runs the whole teacher-forced sequence of `layout` (packed.Layout). Returns velocity [B,
        N, W].

        `tokens` [B, N, W]; `flow_time` [B, G] of the layout's groups; `self_bias` [1 or B, 1, N,
        N]; `self_scale` [1 or B, N] or None; `text`, `ego`: per-layer (k, v) of every chunk, [B, H,
        chunks*rows, D]; `text_bias` [B, 1, N, chunks*rows] masks other chunks' rows (the layout has
        the ego mask); `rope` [B, N, D/2, 2] where batch rows have positions of their own.
        """
        video_time, video_proj = self.condition_embedder.time(flow_time)
        action_time, action_proj = self.condition_embedder_action.time(flow_time)
        which = layout.group_is_action[None, :, None]
        time = torch.where(which, action_time, video_time)
        proj = torch.where(which[..., None], action_proj, video_proj)
        rope = (layout.rope if rope is None else rope).unsqueeze(-4)

        def modulation(table):
            rows = (table + proj).index_select(1, layout.group)
            return rows.unbind(2)

        x = self.embed(tokens, layout.is_action)
        for layer, block in enumerate(self.blocks):

            def attend_self(q, k, v):
                q, k = rotate(q, rope), rotate(k, rope)
                if self_scale is not None:
                    q = q * self_scale[:, None, :, None]
                return attend(q, k, v, self_bias)

            x = block(
                x,
                modulation,
                attend_self,
                lambda q, kv=text[layer]: attend(q, *kv, text_bias),
                lambda q, kv=ego[layer]: attend(q, *kv, layout.ego_bias),
            )
        table = self.scale_shift_table
        shift = (table[:, 0:1] + time).index_select(1, layout.group)
        scale = (table[:, 1:2] + time).index_select(1, layout.group)
        return self.head(x, shift, scale, layout.is_action)
