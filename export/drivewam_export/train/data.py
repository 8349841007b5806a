"""Input folders (docs/input.md) as training data.

Memory-mapped frames, observed actions, ego states, commands, labels.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from ..config import ModelConfig

COMMANDS = ("left", "straight", "right", "unknown")
LIMITS_MPS = (5.0, 9.0, 14.0)


def _table(path: Path) -> dict[str, list[str]]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    head, body = rows[0], rows[1:]
    return {name: [row[i] for row in body] for i, name in enumerate(head)}


@dataclass
class Drive:
    """One folder. Times are seconds since its first stamp; poses and ego states are 0.1 s apart."""

    path: Path
    frames: np.ndarray  # [n, H, W, 3] u8, memory-mapped
    frame_s: np.ndarray  # [n]
    poses: np.ndarray  # [m, 3] x, y, yaw
    ego: np.ndarray  # [m, 3] speed, acceleration, curvature
    command: np.ndarray  # [m] index into COMMANDS
    needed: np.ndarray  # [m] 1 where only memory tells the limit
    limit: np.ndarray  # [m] index of the limit in force among LIMITS_MPS, -1 where unknown
    sign: np.ndarray  # [m] 1 where a limit sign is visible
    masked: np.ndarray  # [m] 1 where no plan is an example
    # [n, 40, 3] f32: the expert's plan from each frame on, in the frame of the pose there
    plans: np.ndarray | None
    camera: dict = field(default_factory=dict)  # the section of input.yaml

    @classmethod
    def open(cls, path: Path) -> "Drive":
        meta = yaml.safe_load((path / "input.yaml").read_text())
        height, width = meta["camera"]["height"], meta["camera"]["width"]
        if meta["frames"]["format"] != "rgb8":
            raise ValueError(
                f"{path}: training reads frames of format rgb8, got {meta['frames']['format']!r}"
            )
        frames = np.memmap(path / "frames.rgb", np.uint8, "r").reshape(-1, height, width, 3)
        stamps = np.array(_table(path / "frames.csv")["stamp_ns"], np.int64)
        poses = _table(path / "poses.csv")
        ego = _table(path / "ego.csv")
        start = int(poses["stamp_ns"][0])
        pose_s = (np.array(poses["stamp_ns"], np.int64) - start) * 1e-9
        if not np.allclose(np.diff(pose_s), 0.1, atol=1e-6):
            raise ValueError(f"{path}: training reads poses exactly 0.1 s apart")
        commands = _table(path / "commands.csv")
        stamps_c = np.array(commands["stamp_ns"], np.int64)
        at = np.searchsorted(stamps_c, np.array(poses["stamp_ns"], np.int64), side="right") - 1
        command = np.array([COMMANDS.index(c) for c in commands["command"]])[np.maximum(at, 0)]
        needed, sign, masked = (np.zeros(len(pose_s), np.int64) for _ in range(3))
        limit = np.full(len(pose_s), -1)
        if (path / "labels.csv").exists():
            labels = _table(path / "labels.csv")
            needed, sign = (
                np.array(labels[name], np.int64) for name in ("memory_needed", "sign_visible")
            )
            masked = np.array(labels.get("masked", masked), np.int64)
            limit = np.array([LIMITS_MPS.index(float(v)) for v in labels["limit_mps"]])
        plans = path / "plans.f32"
        columns = lambda table, names: np.stack([np.array(table[n], np.float64) for n in names], 1)
        return cls(
            path,
            frames,
            (stamps - start) * 1e-9,
            columns(poses, ("x_m", "y_m", "yaw_rad")),
            columns(ego, ("speed_mps", "acceleration_mps2", "curvature_1pm")),
            command,
            needed,
            limit,
            sign,
            masked,
            np.memmap(plans, "<f4", "r").reshape(len(frames), -1, 3) if plans.exists() else None,
            meta["camera"],
        )


def open_all(root: Path) -> list[Drive]:
    """All drives below `root`, in order of name."""
    folders = sorted(p.parent for p in Path(root).glob("*/input.yaml"))
    if not folders:
        raise FileNotFoundError(f"{root}: no input folder below it")
    return [Drive.open(folder) for folder in folders]


def relative(poses: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Poses [..., 3] in the frame of `origin` [..., 3]; yaw unwrapped from the origin's."""
    c, s = np.cos(origin[..., 2]), np.sin(origin[..., 2])
    dx, dy = poses[..., 0] - origin[..., 0], poses[..., 1] - origin[..., 1]
    return np.stack([c * dx + s * dy, c * dy - s * dx, poses[..., 2] - origin[..., 2]], -1)


def increments(poses: np.ndarray, tick, steps: int) -> np.ndarray:
    """Increments [..., steps, 3] of the `steps` poses after each `tick` [...], in the frame of the
    pose at the tick."""
    at = np.asarray(tick)[..., None] + np.arange(steps + 1)
    return np.diff(relative(poses[at], poses[at[..., :1]]), axis=-2)


def pack(config: ModelConfig, normalised: np.ndarray) -> np.ndarray:
    """Normalised increments [..., poses, 3] as action tokens [..., Na, A]."""
    a = config.action
    rows = normalised.reshape(*normalised.shape[:-2], a.tokens, a.steps_per_token * 3)
    out = np.zeros((*rows.shape[:-1], a.channels), normalised.dtype)
    out[..., list(a.used_channels)] = rows
    return out


def unpack(config: ModelConfig, tokens: np.ndarray) -> np.ndarray:
    """The inverse of `pack`."""
    rows = tokens[..., list(config.action.used_channels)]
    return rows.reshape(*rows.shape[:-2], config.poses, 3)


@dataclass(frozen=True)
class Normalisation:
    """Quantiles of the increments. Normalised: a_n = 2 (a - q01) / (q99 - q01 + eps) - 1."""

    q01: np.ndarray
    q99: np.ndarray
    epsilon: float = 1e-6

    @classmethod
    def of(cls, drives: list[Drive]) -> "Normalisation":
        rng = np.random.default_rng(0)
        samples = []
        for drive in drives:
            for tick in rng.integers(0, len(drive.poses) - 41, 8):
                samples.append(increments(drive.poses, int(tick), 40))
        joined = np.concatenate(samples)
        return cls(np.quantile(joined, 0.01, axis=0), np.quantile(joined, 0.99, axis=0))

    def apply(self, increments: np.ndarray) -> np.ndarray:
        return 2 * (increments - self.q01) / (self.q99 - self.q01 + self.epsilon) - 1

    def undo(self, normalised: np.ndarray) -> np.ndarray:
        return (normalised + 1) / 2 * (self.q99 - self.q01 + self.epsilon) + self.q01

    @classmethod
    def from_dict(cls, section: dict) -> "Normalisation":
        return cls(np.array(section["q01"]), np.array(section["q99"]), section["epsilon"])

    def to_dict(self) -> dict:
        return {
            "q01": [float(v) for v in self.q01],
            "q99": [float(v) for v in self.q99],
            "epsilon": self.epsilon,
        }
