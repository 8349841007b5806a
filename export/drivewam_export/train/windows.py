"""Windows of drives: the chunks that a training step looks at together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..packed import Layout, patchify
from .data import Drive, Normalisation, increments, pack
from .latents import Latents


@dataclass
class Window:
    """Rows of K chunks, as tensors [rows, K, ...]."""

    video: torch.Tensor  # clean tokens
    action: torch.Tensor  # clean tokens: what was driven
    plan: torch.Tensor  # tokens of what the expert would have driven: what noisy actions are to become
    command: torch.Tensor
    ego: torch.Tensor
    limit: torch.Tensor  # index of the limit in force, -1 where unknown
    frames: torch.Tensor  # index of each chunk; the last few (`Windows.RECENT`) are neighbours, before them there may be gaps


class Windows:
    """Random windows of K chunks from all drives. A chunk is named by the frame at which it begins; it shows the frames after that one."""

    RECENT = 4
    FARTHEST = 75

    def __init__(self, config, drives: list[Drive], latents: list[Latents], normalisation: Normalisation, per_second: int):
        self.config, self.drives, self.latents, self.normalisation = config, drives, latents, normalisation
        self.per_chunk = 4 * per_second
        self.tick = 10 // per_second
        # Frames at which a chunk begins whose answer only memory knows.
        self.needed = [(d, int(t)) for d, drive in enumerate(drives) for t in np.flatnonzero(drive.needed[: -41 : self.tick])]

    def draw(self, chunks: int, rows: int, rng: np.random.Generator, needed_share: float = 0.0, gapped_share: float = 0.0) -> Window:
        """Windows anywhere. Of a needed one, the chunk that needs memory is the last; of a gapped one, all but the last few chunks lie anywhere
        in the past, among them, where the last one needs memory, those that saw the sign."""
        picks = []
        for _ in range(rows):
            needed = self.needed and rng.random() < needed_share
            d, last = self.needed[rng.integers(len(self.needed))] if needed else (int(rng.integers(len(self.drives))), -1)
            high = len(self.drives[d].frames) - self.per_chunk - 1
            if not 0 <= last < high:
                last = int(rng.integers(0, high))
            past = last // self.per_chunk  # chunks that lie wholly before the last one
            if rng.random() < gapped_share and past >= chunks:
                picks.append((d, self.gapped(d, last, chunks, min(past, self.FARTHEST), needed, rng), False))
                continue
            last = max(last, (chunks - 2) * self.per_chunk)
            whole = last - (chunks - 1) * self.per_chunk >= 0 and rng.random() < 0.5
            picks.append((d, [last - (chunks - 1 - k) * self.per_chunk for k in range(chunks)], not whole))
        return self.gather(picks, chunks)

    def gapped(self, d: int, last: int, chunks: int, past: int, needed: bool, rng: np.random.Generator) -> list[int]:
        old = set()
        if needed:
            seen = np.flatnonzero(self.drives[d].sign[: last * self.tick + 1])
            if len(seen):
                ago = (last * self.tick - seen[-1]) // (self.per_chunk * self.tick) + 1
                old = {int(o) for o in (ago, ago + 1) if self.RECENT <= o <= past}
        free = [o for o in range(self.RECENT, past + 1) if o not in old]
        old |= {int(o) for o in rng.choice(free, max(0, chunks - self.RECENT - len(old)), replace=False)}
        offsets = (sorted(old)[: chunks - self.RECENT])[::-1] + list(range(self.RECENT))[::-1]
        return [last - o * self.per_chunk for o in offsets]

    def gather(self, picks: list[tuple[int, list[int], bool]], chunks: int) -> Window:
        """Windows of (drive, frame at which each chunk begins, whether chunk 0 is the single frame at which chunk 1 begins)."""
        c, rows = self.config, len(picks)
        latent = np.empty((rows, chunks, c.latent.channels, c.latent.height, c.latent.width), np.float32)
        action, plan = np.empty((rows, chunks, c.poses, 3)), np.empty((rows, chunks, c.poses, 3))
        ego = np.empty((rows, chunks, 3), np.float32)
        command, limit = np.empty((rows, chunks), np.int64), np.empty((rows, chunks), np.int64)
        frames = np.empty((rows, chunks), np.int64)
        for r, (d, begins, single) in enumerate(picks):
            drive, latents = self.drives[d], self.latents[d]
            for k, at in enumerate(begins):
                if k == 0 and single:
                    at = begins[1]
                    latent[r, k] = latents.first[at]
                    action[r, k] = plan[r, k] = 0.0
                else:
                    latent[r, k] = latents.chunk[at]
                    action[r, k] = increments(drive.poses, at * self.tick, c.poses)
                    plan[r, k] = action[r, k] if drive.plans is None else np.diff(drive.plans[at], axis=0, prepend=np.zeros((1, 3)))
                tick = at * self.tick
                ego[r, k], command[r, k], limit[r, k] = drive.ego[tick], drive.command[tick], drive.limit[tick]
            frames[r] = (np.array(begins) - begins[0]) // self.per_chunk
        tokens_v = patchify(c, torch.from_numpy(latent))

        def tokens(rows):
            packed = pack(c, self.normalisation.apply(rows)).astype(np.float32).clip(-4, 4)
            return torch.nn.functional.pad(torch.from_numpy(packed), (0, c.token_width - c.action.channels))

        rest = (torch.from_numpy(x) for x in (command, ego, limit, frames))
        return Window(tokens_v, tokens(action), tokens(plan), *rest)


def arrange(layout: Layout, window: Window):
    """Tokens [B, N, W] in the layout's order, all without noise: of noisy actions the plan, of clean ones what was driven."""
    pick = lambda g: window.video if not g.is_action else window.plan if g.noisy else window.action
    return torch.cat([pick(g)[:, g.chunk] for g in layout.groups], 1)
