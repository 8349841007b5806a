"""Captioned drives as training data.

A scene has the newest front image, the plot of the past 4 s, the command and the caption.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import COMMANDS, open_all
from .facts import classes

UNKNOWN = COMMANDS.index("unknown")


@dataclass
class Scenes:
    """One scene per frame. `at`: (drive, frame). `captions`: under the command in force and under
    none."""

    folders: list[Path]  # per drive
    frames: list[np.ndarray]  # per drive [n, H, W, 3] u8
    plots: list[np.ndarray]  # the same shape
    at: list[tuple[int, int]]
    command: np.ndarray  # [scenes] index into COMMANDS
    captions: list[tuple[str, str]]

    @classmethod
    def open(cls, root: Path) -> "Scenes":
        """Opens all drives below `root`. Raises ValueError for a drive without captions."""
        out = cls([], [], [], [], np.zeros(0, np.int64), [])
        commands = []
        for drive in open_all(root):
            file = drive.path / "captions.jsonl"
            if not file.exists():
                raise ValueError(
                    f"{drive.path}: no captions.jsonl; `drivewam world --captions` writes it"
                )
            lines: dict[int, dict[str, str]] = {}
            for line in map(json.loads, file.read_text().splitlines()):
                lines.setdefault(line["stamp_ns"], {})[line["command"]] = line["caption"]
            for frame, captions in enumerate(lines.values()):
                command = next((word for word in captions if word != "unknown"), "unknown")
                out.at.append((len(out.frames), frame))
                out.captions.append((captions[command], captions["unknown"]))
                commands.append(COMMANDS.index(command))
            out.folders.append(drive.path)
            out.frames.append(drive.frames)
            out.plots.append(
                np.memmap(drive.path / "plots.rgb", np.uint8, "r").reshape(drive.frames.shape)
            )
        out.command = np.array(commands)
        return out

    def __len__(self) -> int:
        return len(self.at)

    def pictures(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Front images [n, H, W, 3] and plots, u8."""
        pick = lambda kept: np.stack(
            [kept[drive][frame] for drive, frame in (self.at[i] for i in rows)]
        )
        return pick(self.frames), pick(self.plots)

    def captions_for(self, rows: np.ndarray, hidden: bool) -> tuple[np.ndarray, list[str]]:
        """Commands and captions; with `hidden`, as if no route were known."""
        command = np.full(len(rows), UNKNOWN) if hidden else self.command[rows]
        return command, [self.captions[i][int(hidden)] for i in rows]

    def classes(self, facts: tuple[str, ...]) -> np.ndarray:
        """Indices [scenes, facts] into FACTS of the captions' values."""
        known = {text: classes(text, facts) for text, _ in set(self.captions)}
        return np.array([known[text] for text, _ in self.captions])


def shares(values: np.ndarray, most: float) -> np.ndarray:
    """Probabilities [n] of drawing each row of `values` [n, facts], so that rare values are seen:
    proportional to the root of the rarity of the row's rarest value, at most `most` times the
    smallest."""
    weight = np.zeros(len(values))
    for column in values.T:
        count = np.bincount(column)
        weight = np.maximum(weight, (len(column) / np.maximum(count, 1))[column] ** 0.5)
    weight = np.clip(weight / weight.min(), 1, most)
    return weight / weight.sum()
