"""Rotary position tables, computed in f64 from absolute (time, height, width).

The runtime has the same arithmetic (core/rope.rs).
"""

from __future__ import annotations

import torch

from .config import ModelConfig


def video_positions(config: ModelConfig, chunk: int) -> torch.Tensor:
    """Positions [Nv, 3] of chunk `chunk`, in raster order."""
    rows = config.latent.height // config.patch[1]
    columns = config.latent.width // config.patch[2]
    h, w = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    t = torch.full_like(h, chunk)
    return torch.stack([t, h, w], -1).reshape(-1, 3).double()


def action_positions(config: ModelConfig, chunk: int) -> torch.Tensor:
    """Positions [Na, 3]: fractional times between frame `chunk` and the next, height and width -1
    (LingBot-VA `get_mesh_id`)."""
    i = torch.arange(1, config.na + 1).double()
    t = chunk + i / (config.na + 1)
    return torch.stack([t, torch.full_like(t, -1.0), torch.full_like(t, -1.0)], -1)


def table(config: ModelConfig, positions: torch.Tensor) -> torch.Tensor:
    """Positions [..., 3] to (cos, sin) [..., D/2, 2] f32: pairs of the time axis first, then
    height, then width."""
    angles = []
    for axis, width in enumerate(config.rope.split):
        j = torch.arange(0, width, 2, device=positions.device).double()
        angles.append(positions[..., axis : axis + 1] * config.rope.theta ** (-j / width))
    joined = torch.cat(angles, -1)
    return torch.stack([joined.cos(), joined.sin()], -1).float()


def rotate(x: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    """Rotates neighbouring pairs of the last axis of `x` [..., D]; `rope` [..., D/2, 2]
    broadcasts."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = rope[..., 0], rope[..., 1]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
