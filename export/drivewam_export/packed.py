"""The packed teacher-forced training sequence, its mask and its positions.

The order is `[noisy video | clean video | noisy action (copies) | clean action]`. A token has a
chunk c, a parity g = 2c (video) or 2c+1 (action), and a copy: noisy or clean. Visibility (spec
section 4, LingBot-VA `FlexAttnFunc`):

| query | key | condition |
|---|---|---|
| clean | clean | g_k <= g_q |
| noisy | clean | g_k < g_q |
| noisy | noisy | g_k = g_q, and the same copy |
| clean | noisy | never |

Several noisy action copies of a chunk, each with a flow time of its own, share one sequence: a copy
sees itself and clean tokens only. With `imagined`, a second noisy video copy holds the model's own
prediction of a chunk, and the chunk's noisy actions see it in place of the clean video, as in a
ride.

Tokens of chunk c read the guidance and ego state of chunk c. Where chunk 0 is a rollout's first
frame, the caller gives it those of chunk 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .bias import MASKED
from .config import ModelConfig
from .rope import action_positions, table, video_positions


def self_scale(visible: torch.Tensor) -> torch.Tensor:
    """Scale of self-attention logits for n visible keys: ln(n + 8) / ln(200)."""
    return torch.log(visible.float() + 8.0) / math.log(200.0)


@dataclass
class Group:
    """Tokens that share chunk, stream, copy and flow time."""

    chunk: int
    is_action: bool
    noisy: bool
    copy: int
    imagined: bool
    start: int
    size: int

    @property
    def parity(self) -> int:
        return 2 * self.chunk + int(self.is_action)

    @property
    def span(self) -> slice:
        return slice(self.start, self.start + self.size)


class Layout:
    """Positions, mask and groups of a sequence of `chunks` chunks, noisy ones from `noisy_from` on.

    `frames` gives each chunk its absolute index (gaps are allowed), by default 0, 1, 2, ...;
    `window` limits |g_q - g_k|; `copies` counts noisy action copies.
    """

    def __init__(
        self,
        config: ModelConfig,
        chunks: int,
        copies: int = 1,
        frames=None,
        window: int | None = None,
        noisy_from: int = 1,
        imagined: bool = False,
    ):
        self.config, self.chunks, self.copies, self.imagined = config, chunks, copies, imagined
        frames = list(range(chunks)) if frames is None else list(frames)
        self.groups: list[Group] = []
        start = 0

        def add(chunk, is_action, noisy, copy=0, imagined=False):
            nonlocal start
            size = config.na if is_action else config.nv
            self.groups.append(Group(chunk, is_action, noisy, copy, imagined, start, size))
            start += size

        for chunk in range(noisy_from, chunks):
            add(chunk, False, True)
        for chunk in range(noisy_from, chunks if imagined else 0):
            add(chunk, False, True, 1, True)
        for chunk in range(chunks):
            add(chunk, False, False)
        for copy in range(copies):
            for chunk in range(noisy_from, chunks):
                add(chunk, True, True, copy)
        for chunk in range(chunks):
            add(chunk, True, False)
        self.length = start
        self.group = torch.cat([torch.full((g.size,), i) for i, g in enumerate(self.groups)])
        self.group_is_action = torch.tensor([g.is_action for g in self.groups])
        self.is_action = self.group_is_action[self.group].float()
        self.chunk = torch.tensor([g.chunk for g in self.groups])[self.group]
        within = [
            (action_positions if g.is_action else video_positions)(config, 0) for g in self.groups
        ]
        self.within = torch.cat(within)
        self.rope = self.rope_at(torch.tensor(frames))
        self.visible = self._visible(window)
        self.ego_bias = self.context_bias(config.ego.tokens)
        self.indices: dict[tuple, torch.Tensor] = {}

    def _visible(self, window):
        n = len(self.groups)
        seen = torch.zeros(n, n, dtype=torch.bool)
        for i, q in enumerate(self.groups):
            for j, k in enumerate(self.groups):
                if (
                    q.noisy
                    and q.is_action
                    and self.imagined
                    and not k.is_action
                    and k.chunk == q.chunk
                ):
                    see = k.imagined
                elif q.noisy and k.noisy:
                    see = q.parity == k.parity and q.copy == k.copy
                elif q.noisy:
                    see = k.parity < q.parity
                else:
                    see = not k.noisy and k.parity <= q.parity
                seen[i, j] = see and (window is None or abs(q.parity - k.parity) <= window)
        return seen[self.group][:, self.group]

    def rope_at(self, frames: torch.Tensor) -> torch.Tensor:
        """The rotary table [..., N, D/2, 2] for absolute chunk indices `frames` [..., chunks]."""
        shift = frames[..., self.chunk].double()
        return table(self.config, self.within + torch.nn.functional.pad(shift[..., None], (0, 2)))

    def context_bias(self, rows: int) -> torch.Tensor:
        """Bias [1, 1, N, chunks*rows]: each token sees its own chunk's rows."""
        owner = torch.arange(self.chunks, device=self.chunk.device).repeat_interleave(rows)
        return torch.where(self.chunk[:, None] == owner[None, :], 0.0, MASKED)[None, None]

    def which(self, **wanted) -> torch.Tensor:
        """Indices of the groups whose fields equal `wanted`, in order. They are cached: unlike a
        mask, an index on the device needs no synchronisation."""
        return self._index("groups", wanted)

    def rows(self, **wanted) -> torch.Tensor:
        """Indices of the tokens of those groups."""
        return self._index("rows", wanted)

    def _index(self, kind: str, wanted: dict) -> torch.Tensor:
        key = (kind, *sorted(wanted.items()))
        if key not in self.indices:
            listed = []
            for i, group in enumerate(self.groups):
                if all(getattr(group, field) == value for field, value in wanted.items()):
                    listed += (
                        [i] if kind == "groups" else range(group.start, group.start + group.size)
                    )
            self.indices[key] = torch.tensor(listed, dtype=torch.long, device=self.group.device)
        return self.indices[key]

    def shared(self, other: "Layout") -> tuple[torch.Tensor, torch.Tensor]:
        """Indices in `other` of this layout's groups and of their tokens."""
        if ("shared", other) not in self.indices:
            pairs = [other.find(g.chunk, g.is_action, g.noisy) for g in self.groups]
            listed = (
                [i for i, _ in pairs],
                [row for _, g in pairs for row in range(g.start, g.start + g.size)],
            )
            self.indices["shared", other] = tuple(
                torch.tensor(x, device=self.group.device) for x in listed
            )
        return self.indices["shared", other]

    def find(self, chunk: int, is_action: bool, noisy: bool, copy: int = 0) -> tuple[int, Group]:
        """The index and the group of a chunk's stream."""
        for i, g in enumerate(self.groups):
            if (g.chunk, g.is_action, g.noisy, g.copy) == (chunk, is_action, noisy, copy):
                return i, g
        raise KeyError((chunk, is_action, noisy, copy))

    def self_bias(self, visible=None) -> torch.Tensor:
        """Additive bias [.., 1, N, N] of `visible` [.., N, N], by default the layout's own."""
        visible = self.visible[None] if visible is None else visible
        return torch.where(visible, 0.0, MASKED)[:, None]

    def to(self, device) -> "Layout":
        for name in (
            "group",
            "group_is_action",
            "is_action",
            "chunk",
            "within",
            "rope",
            "visible",
            "ego_bias",
        ):
            setattr(self, name, getattr(self, name).to(device))
        self.indices.clear()
        return self


def patchify(config: ModelConfig, latent: torch.Tensor) -> torch.Tensor:
    """Latent [..., Cz, Hz, Wz] to token rows [..., Nv, W]: each row a patch as (channel, row,
    column), padded to W."""
    _, ph, pw = config.patch
    x = latent.unflatten(-1, (-1, pw)).unflatten(-3, (-1, ph))  # [..., C, h, ph, w, pw]
    x = x.movedim(-5, -3)  # [..., h, ph, C, w, pw]
    x = x.movedim(-4, -3).movedim(-2, -4)  # [..., h, w, C, ph, pw]
    rows = x.flatten(-3).flatten(-3, -2)
    return torch.nn.functional.pad(rows, (0, config.token_width - config.video_channels))


def unpatchify(config: ModelConfig, rows: torch.Tensor) -> torch.Tensor:
    """The inverse of `patchify`."""
    _, ph, pw = config.patch
    h, w = config.latent.height // ph, config.latent.width // pw
    x = (
        rows[..., : config.video_channels]
        .unflatten(-1, (config.latent.channels, ph, pw))
        .unflatten(-4, (h, w))
    )
    x = x.movedim(-3, -5)  # [..., C, h, w, ph, pw]
    return x.transpose(-3, -2).flatten(-2).flatten(-3, -2)
