"""The graph `monitor`: how unlike the training a chunk's frames and the motion during it are.

A small network tells chunks of the training's drives from the same drives seen wrongly
(`train/monitor.py`). It reads the latent of the chunk, each number of it normalised by the
training's mean and deviation, and the ego's motion in each of the chunk's frame periods.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .config import ModelConfig

WIDTH = 96
SECOND = 64
# A latent's number this many deviations from its mean is as far as any.
FARTHEST = 8.0
CHANNELS = 3  # dx, dy, dyaw


def motion(increments: torch.Tensor, periods: int) -> torch.Tensor:
    """Increments [..., steps, 3] as the motion in each frame period, [..., 3 periods]."""
    *before, steps, channels = increments.shape
    return increments.reshape(*before, periods, steps // periods, channels).sum(-2).flatten(-2)


class Monitor(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        latent = config.latent.channels * config.latent.height * config.latent.width
        self.periods = config.image.frames_per_latent
        moved = CHANNELS * self.periods
        self.register_buffer("latent_mean", torch.zeros(latent))
        self.register_buffer("latent_std", torch.ones(latent))
        self.register_buffer("motion_std", torch.ones(moved))
        self.first = nn.Linear(latent + moved, WIDTH)
        self.second = nn.Linear(WIDTH, SECOND)
        self.last = nn.Linear(SECOND, 1)

    def logit(self, latent: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
        """Latents [B, Cz Hz Wz] and `motion` [B, 3 F] to [B]."""
        z = ((latent - self.latent_mean) / self.latent_std).clamp(-FARTHEST, FARTHEST) / 2
        x = torch.cat([z, moved / self.motion_std], -1)
        x = F.dropout(x, 0.1, self.training)
        return self.last(F.silu(self.second(F.silu(self.first(x)))))[..., 0]

    def forward(self, latent: torch.Tensor, increments: torch.Tensor) -> torch.Tensor:
        """A latent [Cz, Hz, Wz] and increments [steps, 3] (m, m, rad, in the frame of the chunk's
        first pose) to `unfamiliar` [1], from 0 to 1."""
        moved = motion(increments, self.periods)
        return torch.sigmoid(self.logit(latent.flatten()[None], moved[None]))
