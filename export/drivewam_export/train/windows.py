"""Windows of drives: the chunks of a training step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..packed import Layout, patchify
from .data import Drive, Normalisation, increments, pack
from .latents import Latents
from .texts import sample_texts


@dataclass
class Window:
    """K chunks per row, as tensors [rows, K, ...]."""

    video: torch.Tensor  # clean tokens
    action: torch.Tensor  # clean tokens of the observed motion
    plan: torch.Tensor  # tokens of the expert's plan: the target of noisy actions
    # numbers of texts (texts.Texts); without generated texts those of the commands
    text_ids: torch.Tensor
    ego: torch.Tensor
    limit: torch.Tensor  # index of the limit in force, -1 where unknown
    # index of each chunk; the last `Windows.RECENT` are neighbours, before them gaps are allowed
    frames: torch.Tensor


class Windows:
    """Random windows of K chunks from all drives. A chunk is named by its first frame and shows the
    frames after that one."""

    RECENT = 4
    FARTHEST = 75

    def __init__(
        self,
        config,
        drives: list[Drive],
        latents: list[Latents],
        normalisation: Normalisation,
        per_second: int,
        device="cpu",
        generated=None,
    ):
        """`generated`: per drive the numbers of its frames' texts; None for commands only."""
        self.config, self.drives, self.normalisation, self.device = (
            config,
            drives,
            normalisation,
            torch.device(device),
        )
        self.per_chunk = 4 * per_second
        self.tick = 10 // per_second
        self.long_drives: dict[int, tuple] = {}
        # First frames of chunks whose answer only memory knows.
        self.needed = [
            (d, int(t))
            for d, drive in enumerate(drives)
            for t in np.flatnonzero(drive.needed[: -41 : self.tick])
        ]

        def tokens(rows):
            packed = pack(config, normalisation.apply(rows)).astype(np.float32).clip(-4, 4)
            return torch.nn.functional.pad(
                torch.from_numpy(packed), (0, config.token_width - config.action.channels)
            )

        # One row per frame of all drives: the chunk that begins there. The last row is a car at
        # rest.
        begins = [np.arange(0, len(d.poses) - config.poses, self.tick) for d in drives]
        driven = [increments(d.poses, at, config.poses) for d, at in zip(drives, begins)]
        planned = [
            w if d.plans is None else np.diff(d.plans[: len(w)], axis=1, prepend=0.0)
            for d, w in zip(drives, driven)
        ]
        still = np.zeros((1, config.poses, 3))
        column = lambda name: torch.from_numpy(
            np.concatenate(
                [getattr(d, name)[at] for d, at in zip(drives, begins)]
                + [getattr(drives[0], name)[:1]]
            )
        )
        put = lambda x: x.to(self.device)
        self.action, self.plan = (
            put(tokens(np.concatenate([*x, still]))) for x in (driven, planned)
        )
        self.ego, self.command, self.limit = (
            put(column("ego").float()),
            put(column("command")),
            put(column("limit")),
        )
        self.generated = None
        if generated is not None:
            # The text of the frame one chunk before.
            late = [w[np.maximum(np.arange(len(w)) - self.per_chunk, 0)] for w in generated]
            self.generated = [
                put(
                    torch.from_numpy(
                        np.concatenate([w[: len(at)] for w, at in zip(of, begins)] + [of[0][:1]])
                    )
                )
                for of in (generated, late)
            ]
        self.row = np.cumsum([0, *map(len, begins)])
        # Latents: chunks of all drives, then first frames.
        self.latent = torch.cat([put(l.chunk) for l in latents] + [put(l.first) for l in latents])
        self.chunk_row = np.cumsum([0, *(len(l.chunk) for l in latents)])
        self.first_row = self.chunk_row[-1] + np.cumsum([0, *(len(l.first) for l in latents)])

    def fits(self, chunks: int) -> bool:
        """Whether any drive is long enough for windows of `chunks` chunks."""
        return len(self.long_enough(chunks)[0]) > 0

    def long_enough(self, chunks: int) -> tuple[list[int], list[tuple[int, int]]]:
        """The drives that are long enough, and the chunks in them that need memory."""
        if chunks not in self.long_drives:
            long = {
                d
                for d, drive in enumerate(self.drives)
                if len(drive.frames) > chunks * self.per_chunk + 1
            }
            self.long_drives[chunks] = sorted(long), [n for n in self.needed if n[0] in long]
        return self.long_drives[chunks]

    def draw(
        self,
        chunks: int,
        rows: int,
        rng: np.random.Generator,
        needed_share: float = 0.0,
        gapped_share: float = 0.0,
    ) -> Window:
        """Draws windows. In a needed one, the last chunk needs memory. In a gapped one, all but the
        last few chunks lie anywhere in the past; where the last chunk needs memory, they include
        those that saw the sign."""
        picks = []
        drives, needy = self.long_enough(chunks)
        for _ in range(rows):
            needed = needy and rng.random() < needed_share
            d, last = (
                needy[rng.integers(len(needy))]
                if needed
                else (drives[rng.integers(len(drives))], -1)
            )
            high = len(self.drives[d].frames) - self.per_chunk - 1
            if not 0 <= last < high:
                last = int(rng.integers(0, high))
            past = last // self.per_chunk  # whole chunks before the last one
            if rng.random() < gapped_share and past >= chunks:
                picks.append(
                    (d, self.gapped(d, last, chunks, min(past, self.FARTHEST), needed, rng), False)
                )
                continue
            last = max(last, (chunks - 2) * self.per_chunk)
            whole = last - (chunks - 1) * self.per_chunk >= 0 and rng.random() < 0.5
            picks.append(
                (d, [last - (chunks - 1 - k) * self.per_chunk for k in range(chunks)], not whole)
            )
        return self.gather(picks, chunks, rng)

    def gapped(
        self, d: int, last: int, chunks: int, past: int, needed: bool, rng: np.random.Generator
    ) -> list[int]:
        old = set()
        if needed:
            seen = np.flatnonzero(self.drives[d].sign[: last * self.tick + 1])
            if len(seen):
                ago = (last * self.tick - seen[-1]) // (self.per_chunk * self.tick) + 1
                old = {int(o) for o in (ago, ago + 1) if self.RECENT <= o <= past}
        free = [o for o in range(self.RECENT, past + 1) if o not in old]
        old |= {
            int(o) for o in rng.choice(free, max(0, chunks - self.RECENT - len(old)), replace=False)
        }
        offsets = (sorted(old)[: chunks - self.RECENT])[::-1] + list(range(self.RECENT))[::-1]
        return [last - o * self.per_chunk for o in offsets]

    def gather(
        self,
        picks: list[tuple[int, list[int], bool]],
        chunks: int,
        rng: np.random.Generator | None = None,
    ) -> Window:
        """Collects windows of (drive, first frame of each chunk, whether chunk 0 is the single
        first frame of chunk 1). `rng` draws their texts, if there are generated ones; without it
        they get the command."""
        d, begins, single = (np.array(x) for x in zip(*picks))
        frames = (begins - begins[:, :1]) // self.per_chunk
        begins[:, 0] = np.where(single, begins[:, 1], begins[:, 0])
        here, latent = self.row[d][:, None] + begins, self.chunk_row[d][:, None] + begins
        moved = here.copy()
        moved[single, 0] = len(self.action) - 1
        latent[single, 0] = (self.first_row[d] + begins[:, 0])[single]
        here, moved, latent, frames = (self.send(x) for x in (here, moved, latent, frames))
        video = patchify(self.config, self.latent[latent].float())
        text_ids = self.command[here]
        if rng is not None and self.generated is not None:
            text_ids = sample_texts(rng, text_ids, *(ids[here] for ids in self.generated))
        return Window(
            video,
            self.action[moved],
            self.plan[moved],
            text_ids,
            self.ego[here],
            self.limit[here],
            frames,
        )

    def send(self, index: np.ndarray) -> torch.Tensor:
        """Copies to the device, asynchronously."""
        host = torch.from_numpy(np.ascontiguousarray(index))
        return (
            host.pin_memory().to(self.device, non_blocking=True)
            if self.device.type == "cuda"
            else host
        )


def arrange(layout: Layout, window: Window):
    """Tokens [B, N, W] in the layout's order, all without noise: noisy actions get the plan, clean
    ones the observed motion."""
    pick = lambda g: window.video if not g.is_action else window.plan if g.noisy else window.action
    return torch.cat([pick(g)[:, g.chunk] for g in layout.groups], 1)
