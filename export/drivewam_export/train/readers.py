"""Linear readers of the network's last rows: auxiliary losses, thrown away after training."""

from __future__ import annotations

import torch
from torch import nn

from ..loss import displacement_loss
from ..packed import Layout


def limit_loss(head: nn.Linear, hidden, layout: Layout, limit):
    """Cross-entropy of the limit in force as read from the last rows of the noisy actions: it makes
    them remember the signs."""
    rows = layout.rows(is_action=True, noisy=True)
    logits = head(hidden[:, rows]).float()
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), limit[:, layout.chunk[rows]].flatten(), ignore_index=-1
    )


def road_loss(head: nn.Linear, config, hidden, layout: Layout, plan, metres):
    """Displacement of the expert's plan as read from the last rows of the newest observed video: it
    makes them represent the road."""
    noisy = [g.chunk for g in layout.groups if g.noisy and not g.is_action and not g.imagined]
    seen = [hidden[:, layout.find(chunk - 1, False, False)[1].span].flatten(1) for chunk in noisy]
    answer = head(torch.stack(seen, 1)).unflatten(-1, (config.na, config.action.channels))
    answer = nn.functional.pad(answer, (0, config.token_width - config.action.channels))
    wanted = torch.stack([plan[:, chunk] for chunk in noisy], 1)
    return displacement_loss(config, answer, wanted, metres)[0]
