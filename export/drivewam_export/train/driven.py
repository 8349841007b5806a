"""Windows of drives of the policy itself (DAgger): many of them end where its plan was wrong."""

from __future__ import annotations

import numpy as np

from .data import Drive, relative
from .windows import Window, Windows

# A frame is hard where label and drive end farther apart than this, metres.
HARD_M = 0.8
# Noisy chunks of a window: their plans are learned.
LEARNED = 3


def label_errors(drive: Drive, tick: int) -> np.ndarray:
    """Distance between the ends of label and drive, 4 s after each frame that has both, metres."""
    frames = np.arange(0, len(drive.poses) - 40, tick)
    driven = relative(drive.poses[frames + 40], drive.poses[frames])
    return np.hypot(*(drive.plans[: len(frames), -1, :2] - driven[:, :2]).T)


class DrivenWindows(Windows):
    """Windows whose learned plans are all examples. Half of them end on a hard frame."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        without = [str(drive.path) for drive in self.drives if drive.plans is None]
        if without:
            raise SystemExit(f"--driven: no plans.f32 in {without[0]}: write it with --plans")
        self.errors = [label_errors(drive, self.tick) for drive in self.drives]
        # By chunks of a window: where one may end, and the indices of the hard ones.
        self.ends: dict[int, tuple] = {}
        self.free = [drive.masked[:: self.tick] == 0 for drive in self.drives]

    def lasts(self, chunks: int) -> tuple[np.ndarray, np.ndarray]:
        """(drive, first frame) of every chunk that may end a window, and which of them are hard."""
        ends, hard = [], []
        for d, (drive, free, errors) in enumerate(zip(self.drives, self.free, self.errors)):
            last = np.arange((chunks - 2) * self.per_chunk, len(drive.frames) - self.per_chunk - 1)
            learned = [last - k * self.per_chunk for k in range(min(LEARNED, chunks - 1))]
            last = last[np.all([free[at] for at in learned], axis=0)]
            ends.append(np.stack([np.full_like(last, d), last], 1))
            hard.append(errors[last] > HARD_M)
        return np.concatenate(ends), np.concatenate(hard)

    def draw_driven(self, chunks: int, rows: int, rng: np.random.Generator) -> Window:
        """Draws windows of whole neighbouring chunks."""
        if chunks not in self.ends:
            ends, is_hard = self.lasts(chunks)
            self.ends[chunks] = ends, np.flatnonzero(is_hard)
        ends, hard = self.ends[chunks]
        picks = []
        for _ in range(rows):
            wants_hard = len(hard) > 0 and rng.random() < 0.5
            at = rng.choice(hard) if wants_hard else rng.integers(len(ends))
            d, last = (int(x) for x in ends[at])
            whole = last - (chunks - 1) * self.per_chunk >= 0 and rng.random() < 0.5
            begins = [last - (chunks - 1 - k) * self.per_chunk for k in range(chunks)]
            picks.append((d, begins, not whole))
        return self.gather(picks, chunks, rng)
