"""The joint flow-matching loss, its noise levels, and noisy-history augmentation.

Paper 3.1; spec section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .packed import Layout


def shifted(u: torch.Tensor, shift: float) -> torch.Tensor:
    """sigma = s u / (1 + (s - 1) u)."""
    return shift * u / (1 + (shift - 1) * u)


@dataclass(frozen=True)
class NoiseLevels:
    """Distribution of the flow times. LingBot-VA's values: shifts 5 and 1 (or 0.05), history p 0.5,
    history u in [0.5, 1) shifted.

    With `history_max`, a history level is uniform in [0, history_max], one per chunk. Without, u is
    uniform in [0.5, 1) of the path to data, shifted by the video shift, one per row.
    """

    video_shift: float = 5.0
    action_shift: float = 1.0
    history_probability: float = 0.5
    history_max: float | None = None

    def draw(self, layout: Layout, rows: int, generator: torch.Generator) -> torch.Tensor:
        """Flow times [rows, G] of the layout's groups, on the generator's device."""
        draw = lambda *shape: torch.rand(*shape, generator=generator, device=generator.device)
        u = draw(rows, len(layout.groups))
        if self.history_max is None:
            hit, level = (
                draw(rows, 1) < self.history_probability,
                shifted(0.5 * u, self.video_shift),
            )
        else:
            hit, level = (
                draw(rows, len(layout.groups)) < self.history_probability,
                u * self.history_max,
            )
        times = torch.zeros_like(u)
        for at, values in (
            (layout.which(noisy=False, is_action=False), torch.where(hit, level, 0.0)),
            (layout.which(noisy=True, is_action=False), shifted(u, self.video_shift)),
            (layout.which(noisy=True, is_action=True), shifted(u, self.action_shift)),
        ):
            times[:, at] = values[:, at]
        return times


def interpolate(clean: torch.Tensor, noise: torch.Tensor, flow_time: torch.Tensor) -> torch.Tensor:
    """x_tau = (1 - tau) x + tau eps."""
    return (1 - flow_time) * clean + flow_time * noise


def flow_matching_loss(
    layout: Layout, velocity, clean, noise, *, beta_action: float = 1.0, weight_video: float = 1.0
):
    """L = weight_video * E|v_z - (eps - x)|^2 + beta_a * E|v_a - (eps - a)|^2.

    The mean is over noisy tokens and used channels. Tensors [B, N, W]. Returns (loss, video part,
    action part).
    """
    config = layout.config
    error = (velocity - (noise - clean)).square()
    video = error[
        :, layout.rows(noisy=True, imagined=False, is_action=False), : config.video_channels
    ].mean()
    action = error[:, layout.rows(noisy=True, is_action=True)][
        ..., list(config.action.used_channels)
    ].mean()
    return weight_video * video + beta_action * action, video, action


def displacement_loss(config, tokens, truth, metres, weight_lateral: float = 2.0):
    """Mean displacement in metres between trajectories given as normalised action tokens [..., Na,
    W], along and across the car's heading at t0, each smooth below 0.1 m. Positions are sums of
    increments. For a trajectory that is denoised from zero in one step.

    `metres` [3]: of one unit of a normalised increment. The axes have separate terms because the
    distance that the car will cover is often unknowable, while the lane's course is not: in one
    norm the first would dominate. Returns (along + weight_lateral * across, along, across).
    """
    error = (tokens - truth)[..., list(config.action.used_channels)]
    steps = error.reshape(*error.shape[:-2], config.poses, 3) * metres
    distance = (steps[..., :2].cumsum(-2).square() + 0.01).sqrt() - 0.1
    along, across = distance.mean(dim=tuple(range(distance.dim() - 1)))
    return along + weight_lateral * across, along, across
