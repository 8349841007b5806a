"""Random changes of training inputs: memory that has forgotten, ego states with gaps."""

from __future__ import annotations

import torch

from ..packed import Layout


def drop_old_keys(layout: Layout, rows: int, generator, share: float):
    """Visibility [rows, N, N] in which, for `share` of the rows, clean keys older than the newest
    chunk are dropped at random: a bounded memory keeps the newest chunk whole and thins all others.
    """
    draw = lambda *shape: torch.rand(*shape, generator=generator, device=generator.device)
    clean = torch.zeros(layout.length, dtype=torch.bool, device=generator.device).index_fill(
        0, layout.rows(noisy=False), True
    )
    old = (layout.chunk[:, None] - layout.chunk[None, :] > 1) & clean[None, :]
    rate = torch.where(draw(rows, 1) < share, draw(rows, 1) * 0.95, 0.0)
    dropped = draw(rows, layout.length) < rate
    return layout.visible[None] & ~(old[None] & dropped[:, None, :])


def ego_dropout(ego, generator, probability: float):
    """Adds noise to the ego state and at random zeroes acceleration and curvature, so that the
    policy does not copy the recent past."""
    noisy = ego * (1 + 0.03 * torch.randn(ego.shape, generator=generator, device=ego.device))
    dropped = torch.rand(*ego.shape[:2], 1, generator=generator, device=ego.device) < probability
    keep = torch.cat([torch.ones_like(dropped), ~dropped, ~dropped], -1)
    return noisy * keep
