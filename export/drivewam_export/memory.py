"""The reference KV memory: a video pool, an action pool and the in-flight tail.

One slot table per layer and head set. Slots are ordered video, action, tail, as in the runtime. New
tokens take the lowest free slots. When these do not suffice, the policy chooses the old tokens to
keep, and the new ones take every other slot of the pool, token i the i-th in ascending order
(core/selection/policy.rs). Keys are stored after RoPE and never move. Which slots are valid is the
same for all layers and sets, whatever was evicted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from . import selection
from .bias import MASKED
from .config import ModelConfig

POLICIES = ("full", "fifo", "selective")


class MemoryFull(RuntimeError):
    """Policy `full` has no free slot left. The message names the key to raise."""


@dataclass(frozen=True)
class MemoryOptions:
    """The `memory:` section of a configuration. `scoring` holds the keywords of `selection.scores`,
    λ under the name `lam`."""

    policy: str = "selective"
    video_slots: int = 448
    action_slots: int = 160
    max_chunks: int = 76
    scoring: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.policy not in POLICIES:
            raise ValueError(
                f"memory.policy: got {self.policy!r}, wanted one of {', '.join(POLICIES)}"
            )

    def slots(self, config: ModelConfig) -> dict[str, int]:
        """Slots of each region, in order."""
        full = self.policy == "full"
        return {
            "video": self.max_chunks * config.nv if full else self.video_slots,
            "action": self.max_chunks * config.na if full else self.action_slots,
            "tail": config.nv,
        }


@dataclass
class Placement:
    """Where the new tokens of one pool went: `destinations` [L, Hs, n]. `scores` [L, Hs, B], None
    where nothing had to be evicted."""

    destinations: torch.Tensor
    scores: torch.Tensor | None


class Memory:
    def __init__(self, config: ModelConfig, options: MemoryOptions):
        self.config, self.options = config, options
        self.regions, start = {}, 0
        for name, size in options.slots(config).items():
            self.regions[name] = slice(start, start + size)
            start += size
        self.sets = config.heads if options.scoring.get("heads") == "per_head" else 1
        self.k = [torch.zeros(config.heads, start, config.head_dim) for _ in range(config.layers)]
        self.v = [torch.zeros(config.heads, start, config.head_dim) for _ in range(config.layers)]
        self.valid = torch.zeros(start, dtype=torch.bool)
        self.chunk = torch.zeros(config.layers, self.sets, start, dtype=torch.long)
        self.token = torch.zeros_like(self.chunk)

    def bias(self) -> torch.Tensor:
        """`mem_bias` [S]."""
        return torch.where(self.valid, 0.0, MASKED)

    def layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(zip(self.k, self.v))

    def drop_tail(self) -> None:
        self.valid[self.regions["tail"]] = False

    def write_tail(self, outputs) -> None:
        """Writes per-layer (k, v) [H, Nv, D] of predicted video rows into the tail."""
        tail = self.regions["tail"]
        for layer, (k, v) in enumerate(outputs):
            self.k[layer][:, tail], self.v[layer][:, tail] = k, v
        self.valid[tail] = True

    def commit(
        self, pool: str, chunk: int, outputs, forced: torch.Tensor | None = None
    ) -> Placement:
        """Writes per-layer (k, v, q) [H, n, D] of a chunk's observed rows into `pool`. `forced` [L,
        Hs, n] replaces the policy's choice of slots."""
        region, new = self.regions[pool], outputs[0][0].shape[1]
        scores = (
            self._scores(region, new, chunk, outputs)
            if self.options.policy == "selective"
            else None
        )
        places = []
        for layer, (k, v, _) in enumerate(outputs):
            for part in range(self.sets):
                if forced is None:
                    slots = self._destinations(
                        region,
                        layer,
                        part,
                        new,
                        None if scores is None else scores[layer, part],
                        pool,
                    )
                else:
                    slots = forced[layer, part]
                places.append(slots)
                at = region.start + slots
                heads = slice(None) if self.sets == 1 else slice(part, part + 1)
                self.k[layer][heads, at], self.v[layer][heads, at] = k[heads], v[heads]
                self.chunk[layer, part, at], self.token[layer, part, at] = chunk, torch.arange(new)
        self.valid[region.start + places[0]] = True
        return Placement(torch.stack(places).unflatten(0, (-1, self.sets)), scores)

    def _free(self, region: slice) -> torch.Tensor:
        return (~self.valid[region]).nonzero()[:, 0]

    def _scores(self, region: slice, new: int, now: int, outputs):
        """Scores [L, Hs, B], -inf for an empty slot; None while free slots suffice."""
        if len(self._free(region)) >= new:
            return None
        filled = self.valid[region].nonzero()[:, 0]
        at = region.start + filled
        out = torch.full((self.config.layers, self.sets, region.stop - region.start), -torch.inf)
        for layer, (k, _, q) in enumerate(outputs):
            for part in range(self.sets):
                heads = slice(None) if self.sets == 1 else slice(part, part + 1)
                places = self.chunk[layer, part, at], self.token[layer, part, at]
                rows = selection.scores(
                    self.k[layer][heads, at],
                    q[heads],
                    k[heads],
                    *places,
                    now=now,
                    **self.options.scoring,
                )
                out[layer, part, filled] = rows[0]
        return out

    def _destinations(
        self, region: slice, layer: int, part: int, new: int, score, pool: str
    ) -> torch.Tensor:
        free, size = self._free(region), region.stop - region.start
        if len(free) >= new:
            return free[:new]
        if self.options.policy == "full":
            raise MemoryFull(
                f"no free slot for a {pool} chunk: raise memory.max_chunks (got {self.options.max_chunks})"
            )
        filled = self.valid[region].nonzero()[:, 0]
        chunk, token = (
            self.chunk[layer, part, region.start + filled],
            self.token[layer, part, region.start + filled],
        )
        if score is None:  # fifo: the age is the score
            score = (chunk * (self.config.nv + self.config.na) + token).double()
        else:
            score = score[filled]
        kept = filled[selection.kept(score, chunk, token, size - new)]
        return torch.tensor(sorted(set(range(size)) - set(kept.tolist())))
