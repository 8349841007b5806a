"""Windows of drives of the policy itself (DAgger): many of them end where its plan was wrong."""

from __future__ import annotations

import numpy as np

from .data import Drive, relative
from .windows import Window, Windows

# A frame is hard where label and drive end farther apart than this, metres.
HARD_M = 0.8
# A plan shorter than this stands, and a car that moves farther while it should stand creeps.
STANDS_M, CREEPS_M = 0.15, 0.2
# Shares of the windows that end on a hard frame, and on one from which the car creeps.
HARD_SHARE, CREEPING_SHARE = 0.4, 0.2
# Noisy chunks of a window: their plans are learned.
LEARNED = 3


def label_errors(drive: Drive, tick: int) -> np.ndarray:
    """Distance between the ends of label and drive, 4 s after each frame that has both, metres."""
    frames = np.arange(0, len(drive.poses) - 40, tick)
    driven = relative(drive.poses[frames + 40], drive.poses[frames])
    return np.hypot(*(drive.plans[: len(frames), -1, :2] - driven[:, :2]).T)


def creeping(drive: Drive, tick: int) -> np.ndarray:
    """Whether the car moves on after each frame that `label_errors` judges, while the labels there
    and 4 s later say that it stands: a little at a time leads over a stop line."""
    frames = np.arange(0, len(drive.poses) - 40, tick)
    driven = relative(drive.poses[frames + 40], drive.poses[frames])[:, :2]
    labelled = np.hypot(*drive.plans[:, -1, :2].T)
    stands, later = labelled[: len(frames)], labelled[40 // tick :][: len(frames)]
    missing = len(frames) - len(later)
    later = np.pad(later, (0, missing), constant_values=np.inf)
    return (stands < STANDS_M) & (later < STANDS_M) & (np.hypot(*driven.T) > CREEPS_M)


class DrivenWindows(Windows):
    """Windows whose learned plans are all examples. Many end on a hard frame, or on one from which
    the car creeps."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        without = [str(drive.path) for drive in self.drives if drive.plans is None]
        if without:
            raise SystemExit(f"--driven: no plans.f32 in {without[0]}: write it with --plans")
        self.errors = [label_errors(drive, self.tick) for drive in self.drives]
        self.creeping = [creeping(drive, self.tick) for drive in self.drives]
        # By chunks of a window: where one may end, and the indices of the hard ones and of those
        # from which the car creeps.
        self.ends: dict[int, tuple] = {}
        self.free = [drive.masked[:: self.tick] == 0 for drive in self.drives]

    def lasts(self, chunks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(drive, first frame) of every chunk that may end a window, which of them are hard, and
        from which the car creeps."""
        ends, hard, creeps = [], [], []
        for d, (drive, free, errors) in enumerate(zip(self.drives, self.free, self.errors)):
            last = np.arange((chunks - 2) * self.per_chunk, len(drive.frames) - self.per_chunk - 1)
            learned = [last - k * self.per_chunk for k in range(min(LEARNED, chunks - 1))]
            last = last[np.all([free[at] for at in learned], axis=0)]
            ends.append(np.stack([np.full_like(last, d), last], 1))
            hard.append(errors[last] > HARD_M)
            creeps.append(self.creeping[d][last])
        return np.concatenate(ends), np.concatenate(hard), np.concatenate(creeps)

    def draw_driven(self, chunks: int, rows: int, rng: np.random.Generator) -> Window:
        """Draws windows of whole neighbouring chunks."""
        if chunks not in self.ends:
            ends, *kinds = self.lasts(chunks)
            self.ends[chunks] = ends, *(np.flatnonzero(kind) for kind in kinds)
        ends, hard, creeps = self.ends[chunks]
        picks = []
        for _ in range(rows):
            kind = rng.random()
            wanted = (
                hard if kind < HARD_SHARE else creeps if kind < HARD_SHARE + CREEPING_SHARE else []
            )
            at = rng.choice(wanted) if len(wanted) else rng.integers(len(ends))
            d, last = (int(x) for x in ends[at])
            whole = last - (chunks - 1) * self.per_chunk >= 0 and rng.random() < 0.5
            begins = [last - (chunks - 1 - k) * self.per_chunk for k in range(chunks)]
            picks.append((d, begins, not whole))
        return self.gather(picks, chunks, rng)
