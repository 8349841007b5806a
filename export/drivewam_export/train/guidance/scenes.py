"""Captioned drives as training data: the newest front picture, the plot of the past 4 s, the command, the caption."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import COMMANDS, open_all, relative
from .facts import classes

PLOT = 64  # pixels, both ways
PLOT_M = 64.0  # metres that they show
PLOT_AHEAD = 6  # pixels above the car
PAST_TICKS = 40
FASTEST_MPS = 14.0
UNKNOWN = COMMANDS.index("unknown")


def plot(path: np.ndarray) -> np.ndarray:
    """The bird's-eye plot [H, W, 3] u8 of `path` [n, 3] (x, y, yaw at 10 Hz, the newest last and all zero): forward up, a dot for each place between two poses,
    blue where the car stood and red at FASTEST_MPS; white the car."""
    out = np.full((PLOT, PLOT, 3), 24, np.uint8)
    scale = PLOT / PLOT_M

    def dots(x_m, y_m, colours):
        rows, columns = np.rint(PLOT_AHEAD - x_m * scale).astype(int), np.rint(PLOT / 2 - y_m * scale).astype(int)
        for down, right in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            inside = (rows + down >= 0) & (rows + down < PLOT) & (columns + right >= 0) & (columns + right < PLOT)
            out[rows[inside] + down, columns[inside] + right] = colours[inside]

    steps = np.diff(path[:, :2], axis=0)
    share = np.clip(np.hypot(*steps.T) * 10 / FASTEST_MPS, 0, 1)
    colours = np.stack([255 * share, 255 * (1 - np.abs(2 * share - 1)), 255 * (1 - share)], -1).astype(np.uint8)
    for part in (0.0, 0.5):
        dots(path[:-1, 0] + part * steps[:, 0], path[:-1, 1] + part * steps[:, 1], colours)
    dots(np.array([0.0, 1.0, 2.0]), np.zeros(3), np.full((3, 3), 255, np.uint8))
    return out


@dataclass
class Scenes:
    """One per frame. `at`: (drive, frame). `captions`: under the command in force and under none."""

    frames: list[np.ndarray]  # per drive [n, H, W, 3] u8
    at: list[tuple[int, int]]
    paths: list[np.ndarray]  # [up to 41, 3]
    command: np.ndarray  # [scenes] index into COMMANDS
    captions: list[tuple[str, str]]

    @classmethod
    def open(cls, root: Path) -> "Scenes":
        """Raises ValueError for a drive without captions."""
        out = cls([], [], [], np.zeros(0, np.int64), [])
        commands = []
        for drive in open_all(root):
            file = drive.path / "captions.jsonl"
            if not file.exists():
                raise ValueError(f"{drive.path}: no captions: written with `drivewam world --captions`?")
            lines: dict[int, dict[str, str]] = {}
            for line in map(json.loads, file.read_text().splitlines()):
                lines.setdefault(line["stamp_ns"], {})[line["command"]] = line["caption"]
            for frame, (second, said) in enumerate(zip(drive.frame_s, lines.values(), strict=True)):
                tick = round(second * 10)
                past = drive.poses[max(0, tick - PAST_TICKS) : tick + 1]
                command = next((word for word in said if word != "unknown"), "unknown")
                out.at.append((len(out.frames), frame))
                out.paths.append(relative(past, past[-1]).astype(np.float32))
                out.captions.append((said[command], said["unknown"]))
                commands.append(COMMANDS.index(command))
            out.frames.append(drive.frames)
        out.command = np.array(commands)
        return out

    def __len__(self) -> int:
        return len(self.at)

    def pictures(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Front pictures [n, H, W, 3] and plots, u8."""
        return np.stack([self.frames[drive][frame] for drive, frame in (self.at[i] for i in rows)]), np.stack([plot(self.paths[i]) for i in rows])

    def said(self, rows: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Commands and captions, `unknown` where `hidden`."""
        command = np.where(hidden, UNKNOWN, self.command[rows])
        return command, [self.captions[i][int(h)] for i, h in zip(rows, hidden)]

    def classes(self, facts: tuple[str, ...]) -> np.ndarray:
        """[scenes, facts]: indices into FACTS of what the captions say."""
        known = {text: classes(text, facts) for text, _ in set(self.captions)}
        return np.array([known[text] for text, _ in self.captions])


def shares(values: np.ndarray, most: float) -> np.ndarray:
    """Chances [n] of drawing each row of `values` [n, facts], so that rare values are seen: the root of how rare a row's rarest value is, at most
    `most` times the least."""
    weight = np.zeros(len(values))
    for column in values.T:
        count = np.bincount(column)
        weight = np.maximum(weight, (len(column) / np.maximum(count, 1))[column] ** 0.5)
    weight = np.clip(weight / weight.min(), 1, most)
    return weight / weight.sum()
