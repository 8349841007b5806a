"""Trains the graph `monitor` (../monitor.py), which notices what the policy was not trained on.

`python -m drivewam_export.train.monitor --data DIR --aside DIR --held DIR --codec DIR --out DIR`

A chunk of the training's drives (`--data`, may repeat) is ordinary. The same drives seen wrongly
are not:

| kind | what differs |
|---|---|
| aside | the camera looks elsewhere (`--aside`, drives of `drivewam world --camera-yaw`) |
| mirrored | left and right are exchanged |
| shuffled | the frames come in any order |
| reversed | the frames come in reversed order |
| frozen | the frames stay the same for some seconds |
| failing | the camera is mirrored, even, or aside for some frames, and well again |
| another's motion | the ego's motion is that of another chunk |

Where the car hardly moved, the last four say nothing and are left out. What the network learns from
these kinds it also says of others that it never saw (`study monitors` counts them).

`--out` gets `monitor.safetensors` and `monitors.yaml`, for `export --monitor`. The thresholds of
the latter are 1, which nothing exceeds: `drivewam study monitors --calibrate` measures them on
held-out drives, in the ride itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch.nn import functional as F

from ..codec import Codec
from ..config import load
from ..folder import CODEC_FILES, MONITOR_FILES, stored_weights
from ..monitor import Monitor, motion
from .data import Drive, increments, open_all
from .latents import codec_hash, encode_all, encode_drive, kept

# What the drives of a batch are, by share; ordinary ones are half.
SHARES = {
    "aside": 0.15,
    "mirrored": 0.15,
    "shuffled": 0.2,
    "reversed": 0.08,
    "frozen": 0.1,
    "failing": 0.2,
}
MOTION_SHARE = 0.12
# A car that moved less than this in a chunk hardly moved, metres.
HARDLY_M = 5.0
# Motions that differ by less than this are alike, as a share of their deviations.
ALIKE = 0.5
# No number of a latent counts as steadier than this.
LEAST_STD = 0.05
# Constants of the manifest that are not measured.
CONSTANTS = {
    "imagination": {"floor": 0.3, "threshold": 1.0},
    "scene": {"threshold": 1.0},
    "lanes": {"scale_m": 2.0, "threshold": 1.0},
}


def frozen(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    held, span = frames.copy(), int(rng.integers(10, 60))
    for first in range(0, len(frames), span):
        held[first : first + span] = frames[first]
    return held


def failing(
    frames: np.ndarray, aside: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a camera that fails now and then, and which of them are wrong: mirrored, of one
    level, or of `aside`, frames of a camera that looks elsewhere."""
    changed, wrong = frames.copy(), np.zeros(len(frames), bool)
    at = int(rng.integers(5, 25))
    while at < len(frames):
        part = np.arange(at, min(at + int(rng.integers(1, 20)), len(frames)))
        kind = int(rng.integers(4))
        if kind == 0:
            changed[part] = frames[part, :, ::-1]
        elif kind == 1:
            changed[part] = int(rng.integers(256))
        else:
            changed[part] = aside[part % len(aside)]
        wrong[part] = True
        at = int(part[-1]) + int(rng.integers(10, 40))
    return changed, wrong


def with_any(wrong: np.ndarray, per_second: int, frames: int) -> np.ndarray:
    """Which chunks have a wrong frame among the one before them and their own `frames`."""
    count = len(wrong) - frames * per_second
    return np.any([wrong[k * per_second :][:count] for k in range(frames + 1)], axis=0)


WRONGLY = {
    "mirrored": lambda frames, rng: frames[:, :, ::-1],
    "shuffled": lambda frames, rng: frames[rng.permutation(len(frames))],
    "reversed": lambda frames, rng: frames[::-1],
    "frozen": frozen,
}


@dataclasses.dataclass
class Chunks:
    latents: torch.Tensor  # [n, Cz Hz Wz] f16
    moved: torch.Tensor  # [n, 3 F]

    @classmethod
    def join(cls, parts: list["Chunks"]) -> "Chunks":
        return cls(torch.cat([p.latents for p in parts]), torch.cat([p.moved for p in parts]))

    def __len__(self) -> int:
        return len(self.latents)

    def where(self, some: torch.Tensor) -> "Chunks":
        return Chunks(self.latents[some], self.moved[some])

    def where_moved(self) -> "Chunks":
        x, y = self.moved[:, 0::3].sum(1), self.moved[:, 1::3].sum(1)
        return self.where(torch.hypot(x, y) > HARDLY_M)


def moved(config, drive: Drive, count: int) -> torch.Tensor:
    """The motion during the chunk that follows each of the first `count` frames."""
    ticks = np.round(drive.frame_s[:count] * 10).astype(int)
    steps = torch.from_numpy(increments(drive.poses, ticks, config.poses)).float()
    return motion(steps, config.image.frames_per_latent)


def chunks(config, drive: Drive, latents: torch.Tensor) -> Chunks:
    # The poses of a drive may end before its last frame's chunk does.
    whole = int((drive.frame_s * 10 + config.poses < len(drive.poses)).sum())
    count = min(len(latents), whole)
    return Chunks(latents[:count].flatten(1), moved(config, drive, count))


def ordinary(config, codec: Codec, drives: list[Drive], per_second: int) -> Chunks:
    found = encode_all(codec, drives, per_second)
    return Chunks.join([chunks(config, d, l.chunk) for d, l in zip(drives, found)])


def seen_wrongly(config, codec, drives, per_second, kind: str, seed: int) -> Chunks:
    """The chunks of `drives` with their frames changed. Latents are kept beside the drives."""
    name = f"latents-{codec_hash(codec)}-{kind}"
    parts = []
    for index, drive in enumerate(drives):
        frames = np.asarray(drive.frames)
        rng = np.random.default_rng([seed, index])
        changed = np.ascontiguousarray(WRONGLY[kind](frames, rng))
        other = dataclasses.replace(drive, frames=changed)
        latents = kept(drive, name, lambda o=other: encode_drive(codec, o, per_second))
        parts.append(chunks(config, drive, latents.chunk))
    joined = Chunks.join(parts)
    return joined if kind == "mirrored" else joined.where_moved()


def seen_failing(config, codec, drives, aside, per_second, seed: int) -> Chunks:
    """The chunks of `drives` with a wrong frame, where the camera fails now and then."""
    name, parts = f"latents-{codec_hash(codec)}-failing", []
    for index, drive in enumerate(drives):
        rng = np.random.default_rng([seed, index])
        frames = np.asarray(drive.frames)
        changed, wrong = failing(frames, np.asarray(aside[index % len(aside)].frames), rng)
        other = dataclasses.replace(drive, frames=changed)
        latents = kept(drive, name, lambda o=other: encode_drive(codec, o, per_second))
        found = chunks(config, drive, latents.chunk)
        some = with_any(wrong, per_second, config.image.frames_per_latent)
        parts.append(found.where(torch.from_numpy(some[: len(found)])))
    return Chunks.join(parts)


class Batches:
    """Random batches: half ordinary, half of the kinds above."""

    def __init__(self, good: Chunks, bad: dict[str, Chunks], size: int, seed: int):
        self.good, self.bad, self.size = good, bad, size
        self.generator = torch.Generator().manual_seed(seed)
        self.std = good.moved.std(0).clamp(min=1e-3)

    def some(self, chunks: Chunks, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        at = torch.randint(len(chunks), (count,), generator=self.generator)
        return chunks.latents[at].float(), chunks.moved[at]

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents, motions, and 1 for a chunk that is seen wrongly."""
        half = self.size // 2
        parts = [self.some(self.good, half)]
        parts += [self.some(self.bad[kind], round(half * share)) for kind, share in SHARES.items()]
        own, others = (self.some(self.good, round(half * MOTION_SHARE)) for _ in range(2))
        differs = ((own[1] - others[1]) / self.std).abs().mean(1) > ALIKE
        parts.append((own[0][differs], others[1][differs]))
        latents, motions = (torch.cat(column) for column in zip(*parts))
        wrong = torch.ones(len(latents))
        wrong[:half] = 0
        return latents, motions, wrong


def train(monitor: Monitor, batches: Batches, steps: int, rate: float) -> float:
    """Returns the last losses' mean."""
    optimizer = torch.optim.AdamW(monitor.parameters(), lr=rate, weight_decay=0.05)
    monitor.train()
    losses, began = [], time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        latents, motions, wrong = batches.draw()
        loss = F.binary_cross_entropy_with_logits(monitor.logit(latents, motions), wrong)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 1000 == 0:
            mean, spent = np.mean(losses[-1000:]), time.monotonic() - began
            print(f"step {step + 1} of {steps}: loss {mean:.4f}, {spent:.0f} s", flush=True)
    monitor.eval()
    return float(np.mean(losses[-1000:]))


@torch.no_grad()
def shares(monitor: Monitor, held: Chunks, bad: dict[str, Chunks]) -> dict:
    """The share of each kind's chunks above the number that 1 of 100 ordinary ones exceed."""
    logit = lambda c: torch.cat(
        [
            monitor.logit(l.float(), m)
            for l, m in zip(c.latents.split(4096), c.moved.split(4096), strict=True)
        ]
    )
    threshold = logit(held).quantile(0.99)
    found = {kind: (logit(c) > threshold).float().mean().item() for kind, c in bad.items()}
    return {kind: round(share, 4) for kind, share in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--aside", type=Path, action="append", required=True)
    parser.add_argument("--held", type=Path, required=True, help="drives to judge it on")
    parser.add_argument("--held-aside", type=Path, required=True, help="the same, seen aside")
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument("--codec", type=Path, default=Path("engines/tiny"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=2, help="of the drives are seen wrongly")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    config = load(args.config)
    codec = Codec(config).eval()
    stored = stored_weights(args.codec, "codec.safetensors", CODEC_FILES)[0]
    codec.load_state_dict(stored.all())
    drives = [drive for folder in args.data for drive in open_all(folder)]
    per_second = round(1 / (drives[0].frame_s[1] - drives[0].frame_s[0]))

    def wrong(drives: list[Drive], aside: list[Drive]) -> dict[str, Chunks]:
        kinds = {
            kind: seen_wrongly(config, codec, drives, per_second, kind, args.seed)
            for kind in WRONGLY
        }
        fails = seen_failing(config, codec, drives, aside, per_second, args.seed)
        return {"aside": ordinary(config, codec, aside, per_second), "failing": fails, **kinds}

    good = ordinary(config, codec, drives, per_second)
    aside = [drive for folder in args.aside for drive in open_all(folder)]
    bad = wrong(drives[:: args.every], aside)
    counts = {kind: len(chunks) for kind, chunks in bad.items()}
    print(f"{len(good)} ordinary chunks, and {counts}", flush=True)
    monitor = Monitor(config)
    some = good.latents[::5].float()
    monitor.latent_mean.copy_(some.mean(0))
    monitor.latent_std.copy_(some.std(0).clamp(min=LEAST_STD))
    monitor.motion_std.copy_(good.moved.std(0).clamp(min=1e-3))
    batches = Batches(good, bad, args.batch, args.seed)
    loss = train(monitor, batches, args.steps, args.rate)
    held = open_all(args.held)
    judged = shares(
        monitor, ordinary(config, codec, held, per_second), wrong(held, open_all(args.held_aside))
    )
    record = {"loss": round(loss, 4), "steps": args.steps, "chunks": len(good), "noticed": judged}
    print(yaml.safe_dump(record, sort_keys=False), end="")
    write(args.out, monitor)


def write(out: Path, monitor: Monitor) -> None:
    """Writes both files aside and renames them."""
    out.mkdir(parents=True, exist_ok=True)
    weights, constants = (out / name for name in MONITOR_FILES)
    aside = weights.with_suffix(".partial")
    save_file(monitor.state_dict(), aside)
    os.replace(aside, weights)
    aside.write_text(yaml.safe_dump(CONSTANTS, sort_keys=False))
    os.replace(aside, constants)


if __name__ == "__main__":
    main()
