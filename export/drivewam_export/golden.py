"""Writes golden chunks for the runtime's tests.

`python -m drivewam_export.golden --input DIR [--checkpoint DIR|random:SEED] [--config FILE] [--out
DIR] [--lanes K]`

Runs one rollout of the reference ride over an input folder (docs/input.md; the camera at 1 Hz or a
multiple). Writes `golden.safetensors` and `golden.yaml`, which holds the seed, the SHA-256 of the
checkpoint's weights, stamps, commands, the `flow:` and `memory:` options, and `cut_margin`. The
same inputs give the same bytes on one machine. Chunks 1 .. C are predicted; chunk 0 is the first
frame alone; chunk C is never observed.

L layers, H heads, D head width, Nv and Na tokens, W token width, A action channels, B slots of a
pool, Hs head sets (1 or H). Tensors are f32 unless the table says otherwise.

Inputs:

| name | shape | meaning |
|---|---|---|
| `chunk.N.frames` | `[F, Hpx, Wpx, 3]` u8 | RGB of chunks 0 .. C-1; F = 1 for chunk 0, else 4 |
| `chunk.N.observed.increments` | `[poses, 3]` | observed motion (1); zeros for chunk 0 |
| `chunk.N.ego` | `[features]` | at T_N; chunks 1 .. C |
| `chunk.N.video.noise` | `[Nv, W]` | start of the video's token rows |
| `chunk.N.action.noise` | `[Na, A]` | start of the action, unless it starts from zero |

The graphs take frames as u8 / 127.5 - 1, `[F, 3, Hpx, Wpx]`. (1) Metres and radians in the frame of
the chunk's start.

Results:

| name | shape | meaning |
|---|---|---|
| `chunk.N.latent` | `[Cz, Hz, Wz]` | normalised; chunks 0 .. C-1 |
| `chunk.N.observed.action` | `[Na, A]` | the increments as normalised tokens |
| `chunk.N.observed.k.l`, `.v.l`, `.q.l` | `[H, Nv + Na, D]` | observed commit (2) |
| `chunk.N.observed.destinations.video`, `.action` | `[L, Hs, Nv or Na]` i32 | slots (3) |
| `chunk.N.observed.scores.video`, `.action` | `[L, Hs, B]` | scores of the old pool (4) |
| `chunk.N.video.velocity.i` | `[Nv, W]` | of video step i |
| `chunk.N.video.sample` | `[Nv, W]` | where the video's denoising ends |
| `chunk.N.predicted.k.l`, `.v.l` | `[H, Nv, D]` | predicted video in the tail; last layer |
| `chunk.N.action.velocity.i` | `[Na, A]` | of action step i, the first from the packed pass |
| `chunk.N.action.sample` | `[Na, A]` | normalised tokens |
| `chunk.N.trajectory.increments` | `[poses, 3]` | metres and radians (5) |

With `--lanes K`, K rollouts run side by side, a chunk's K-th part after one another, and the file
holds what all of them share and the trajectory of each chunk:

| name | shape | meaning |
|---|---|---|
| `frames` | `[seconds, Hpx, Wpx, 3]` u8 | RGB |
| `poses` | `[ticks, 3]` f64 | x, y, yaw, ten a second |
| `ego` | `[ticks, features]` f64 | |
| `lane.l.chunk.N.video.noise`, `.trajectory.increments` | as above | |

(2) Of chunk N, made at T_{N+1}; video rows first; first and last layer. (3) The slot in its pool of
each token; all other slots are kept. (4) Only where tokens were evicted. (5) Their running sum is
the trajectory in the frame at T_N.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save

from .config import load
from .folder import Checkpoint, ExportError, atomic_folder, open_checkpoint
from .rollout import Chunk, Options, Rollout
from .train.codec import to_frames
from .train.data import COMMANDS, Drive, Normalisation, increments, pack, unpack

LEAST_CHUNKS = 7  # The shipped memory holds four chunks; so many evict several times.
LARGEST_BYTES = 3_000_000


class Source:
    """The inputs of each chunk of a rollout that begins at second `begin` of a drive."""

    def __init__(self, checkpoint: Checkpoint, drive: Drive, begin: int = 0):
        c = checkpoint.config
        self.config, self.drive, self.begin = c, drive, begin
        self.normalisation = Normalisation.from_dict(checkpoint.normalisation["action"])
        period = drive.frame_s[1] - drive.frame_s[0]
        self.per_frame = round(1 / (c.image.frame_hz * period))
        if (
            self.per_frame < 1
            or abs(self.per_frame * period * c.image.frame_hz - 1) > 1e-6
            or abs(drive.frame_s[0]) > 1e-6
        ):
            wanted = f"wanted a multiple of {c.image.frame_hz} Hz, from the first pose on"
            raise ExportError(f"{drive.path}: got a frame every {period:.3f} s, {wanted}")
        self.first = begin * c.image.frame_hz * self.per_frame
        left = len(drive.frames) - 1 - self.first
        self.chunks = left // (self.per_frame * c.image.frames_per_latent) + 1

    def tick(self, chunk: int) -> int:
        """Index of the pose at T_chunk."""
        return round((self.begin + (chunk - 1) * self.config.chunk_s) * 10)

    def frames(self, chunk: int) -> np.ndarray:
        if chunk == 0:
            return self.drive.frames[self.first : self.first + 1]
        first = (chunk - 1) * self.config.image.frames_per_latent + 1
        count = self.config.image.frames_per_latent
        return self.drive.frames[self.first + np.arange(first, first + count) * self.per_frame]

    def increments(self, chunk: int) -> np.ndarray:
        if chunk == 0:
            return np.zeros((self.config.poses, 3))
        return increments(self.drive.poses, self.tick(chunk), self.config.poses)

    def action(self, moved: np.ndarray) -> torch.Tensor:
        """Observed increments as normalised tokens [Na, A]."""
        return torch.from_numpy(
            pack(self.config, self.normalisation.apply(moved)).astype(np.float32)
        )


def record(
    tensors: dict, config, options: Options, chunk: Chunk, normalisation: Normalisation
) -> None:
    """Adds the results of one step to `tensors` under their names."""
    past, now, channels = (
        f"chunk.{chunk.index - 1}.observed",
        f"chunk.{chunk.index}",
        config.action.channels,
    )
    for layer in sorted({0, config.layers - 1}):
        for stem, value in zip("kvq", chunk.observed.outputs[layer]):
            tensors[f"{past}.{stem}.{layer}"] = value
    for stem, value in zip("kv", chunk.predicted[-1]):
        tensors[f"{now}.predicted.{stem}.{config.layers - 1}"] = value
    for pool in ("video", "action"):
        chosen = getattr(chunk.observed, pool)
        tensors[f"{past}.destinations.{pool}"] = chosen.destinations.int()
        if chosen.scores is not None:
            tensors[f"{past}.scores.{pool}"] = chosen.scores
    for i, velocity in enumerate(chunk.video_velocity):
        tensors[f"{now}.video.velocity.{i}"] = velocity
    for i, velocity in enumerate(chunk.action_velocity):
        tensors[f"{now}.action.velocity.{i}"] = velocity[:, :channels]
    tensors[f"{now}.video.sample"] = chunk.video
    tensors[f"{now}.action.sample"] = chunk.action[:, :channels]
    moved = normalisation.undo(unpack(config, chunk.action[:, :channels].double().numpy()))
    tensors[f"{now}.trajectory.increments"] = torch.from_numpy(moved.astype(np.float32))


def cut_margin(tensors: dict) -> float:
    """The smallest distance, over all selections, between the lowest score that is kept and the
    highest that is evicted: a measure of how robust the kept sets are."""
    smallest = float("inf")
    for name, scores in tensors.items():
        if ".scores." in name:
            gone = torch.zeros_like(scores, dtype=torch.bool).scatter_(
                -1, tensors[name.replace(".scores.", ".destinations.")].long(), True
            )
            margin = scores.masked_fill(gone, torch.inf).amin(-1) - scores.masked_fill(
                ~gone, -torch.inf
            ).amax(-1)
            smallest = min(smallest, margin.min().item())
    return smallest


def ride(
    checkpoint: Checkpoint, options: Options, drive: Drive, chunks: int, seed: int
) -> tuple[dict, dict]:
    """Runs the rollout. Returns the tensors by name, and the index entries that describe it."""
    c, source = checkpoint.config, Source(checkpoint, drive)
    if not LEAST_CHUNKS <= chunks <= source.chunks:
        raise ExportError(
            f"{drive.path}: got {chunks} chunks, wanted {LEAST_CHUNKS} to {source.chunks} (its frames allow no more)"
        )
    generator = torch.Generator().manual_seed(seed)
    rollout, cache, tensors, commands = Rollout(checkpoint.model, options), None, {}, []
    for index in range(1, chunks + 1):
        name, past = f"chunk.{index}", index - 1
        pixels, moved = np.array(source.frames(past)), source.increments(past)
        frames = to_frames(pixels)[None]
        with torch.no_grad():
            latent, cache = (
                checkpoint.codec.encode_first(frames)
                if past == 0
                else checkpoint.codec.encode(frames, cache)
            )
        action = source.action(moved)
        command = COMMANDS[source.drive.command[source.tick(index)]]
        ego = torch.from_numpy(source.drive.ego[source.tick(index)]).float()
        noise = torch.zeros(c.nv, c.token_width)
        noise[:, : c.video_channels] = torch.randn(c.nv, c.video_channels, generator=generator)
        action_noise = torch.randn(c.na, c.action.channels, generator=generator)
        tensors |= {
            f"chunk.{past}.frames": torch.from_numpy(pixels),
            f"chunk.{past}.latent": latent[0],
            f"chunk.{past}.observed.action": action,
            f"chunk.{past}.observed.increments": torch.from_numpy(moved.astype(np.float32)),
            f"{name}.ego": ego,
            f"{name}.video.noise": noise,
        }
        if options.action_start == "noise":
            tensors[f"{name}.action.noise"] = action_noise
        commands.append(command)
        tokens = torch.nn.functional.pad(action, (0, c.token_width - c.action.channels))
        step = rollout.step(latent[0], tokens, checkpoint.rows[command], ego, noise, action_noise)
        record(tensors, c, options, step, source.normalisation)
    bad = [
        name
        for name, value in tensors.items()
        if value.is_floating_point() and not torch.isfinite(value).all() and ".scores." not in name
    ]
    if bad:
        raise ExportError(f"not finite: {', '.join(bad)}")
    first = int((drive.path / "poses.csv").read_text().splitlines()[1].split(",")[0])
    index = {
        "chunks": chunks,
        "seed": seed,
        "first_stamp_ns": first,
        "chunk_s": c.chunk_s,
        "commands": commands,
        "cut_margin": cut_margin(tensors),
    }
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}, index


def ride_lanes(
    checkpoint: Checkpoint, options: Options, drive: Drive, chunks: int, seed: int, lanes: int
) -> tuple[dict, dict]:
    """Runs `lanes` rollouts side by side, for `chunks` chunks each: at second s the lane s mod
    `lanes` computes a chunk. Returns as `ride`."""
    c, spacing = checkpoint.config, checkpoint.config.chunk_s / lanes
    sources = [Source(checkpoint, drive, round(lane * spacing)) for lane in range(lanes)]
    if spacing != round(spacing) or chunks > sources[-1].chunks:
        raise ExportError(
            f"{drive.path}: got {lanes} lanes of {chunks} chunks, wanted lanes whole seconds apart "
            f"and at most {sources[-1].chunks} chunks (its frames allow no more)"
        )
    generator = torch.Generator().manual_seed(seed)
    rollouts, caches = [Rollout(checkpoint.model, options) for _ in sources], [None] * lanes
    tensors, commands = {}, []
    for turn in range(lanes * chunks):
        lane, index = turn % lanes, turn // lanes + 1
        source, name = sources[lane], f"lane.{lane}.chunk.{index}"
        frames = to_frames(np.array(source.frames(index - 1)))[None]
        with torch.no_grad():
            latent, caches[lane] = (
                checkpoint.codec.encode_first(frames)
                if index == 1
                else checkpoint.codec.encode(frames, caches[lane])
            )
        action = source.action(source.increments(index - 1))
        noise = torch.zeros(c.nv, c.token_width)
        noise[:, : c.video_channels] = torch.randn(c.nv, c.video_channels, generator=generator)
        commands.append(COMMANDS[drive.command[source.tick(index)]])
        step = rollouts[lane].step(
            latent[0],
            torch.nn.functional.pad(action, (0, c.token_width - c.action.channels)),
            checkpoint.rows[commands[-1]],
            torch.from_numpy(drive.ego[source.tick(index)]).float(),
            noise,
            torch.randn(c.na, c.action.channels, generator=generator),
        )
        tensors[f"{name}.video.noise"] = noise
        given = step.action[:, : c.action.channels].double().numpy()
        moved = source.normalisation.undo(unpack(c, given))
        tensors[f"{name}.trajectory.increments"] = torch.from_numpy(moved.astype(np.float32))
    seconds = round((chunks - 1) * c.chunk_s + (lanes - 1) * spacing) + 1
    per_second = c.image.frame_hz * sources[0].per_frame
    tensors |= {
        "frames": torch.from_numpy(np.array(drive.frames[: seconds * per_second : per_second])),
        "poses": torch.from_numpy(drive.poses[: seconds * 10].copy()),
        "ego": torch.from_numpy(drive.ego[: seconds * 10].copy()),
    }
    return tensors, {"chunks": chunks, "lanes": lanes, "seed": seed, "commands": commands}


def write(
    spec: str,
    config_path: Path,
    model_path: Path,
    folder: Path,
    out: Path,
    chunks: int,
    seed: int,
    lanes: int = 0,
) -> dict:
    """Writes the folder atomically. Returns the index."""
    torch.set_num_threads(1)
    exported = not spec.startswith("random:") and (Path(spec) / "manifest.yaml").exists()
    checkpoint = open_checkpoint(spec, None if exported else load(model_path))
    document = yaml.safe_load(config_path.read_text())
    given = (checkpoint, Options.of(document), Drive.open(folder), chunks, seed)
    tensors, index = ride_lanes(*given, lanes) if lanes else ride(*given)
    data = save(tensors)
    if len(data) > LARGEST_BYTES:
        raise ExportError(
            f"the golden file would have {len(data)} bytes, wanted at most {LARGEST_BYTES}; use fewer chunks"
        )
    meta = yaml.safe_load((folder / "input.yaml").read_text())
    index = {
        "schema": 1,
        "model": checkpoint.config.name,
        "weights": checkpoint.weights,
        **index,
        "flow": document["flow"],
        "memory": document["memory"],
        "normalisation": checkpoint.normalisation,
        "source": meta.get("source", {}),
        "torch": torch.__version__.split("+")[0],
        "file": {
            "name": "golden.safetensors",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        },
    }
    with atomic_folder(out) as aside:
        (aside / "golden.safetensors").write_bytes(data)
        (aside / "golden.yaml").write_text(yaml.safe_dump(index, sort_keys=False, width=160))
    return index


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--checkpoint",
        default=str(root / "engines/tiny"),
        help="a checkpoint folder, an exported folder, or random:SEED",
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=root / "configs/model/tiny.yaml",
        help="the model, if the checkpoint has no manifest",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=root / "tests/golden/ride.yaml",
        help="a configuration with the sections flow: and memory:",
    )
    parser.add_argument(
        "--input", type=Path, required=True, help="an input folder with rgb8 frames"
    )
    parser.add_argument("--out", type=Path, default=root / "tests/golden/tiny")
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--lanes", type=int, default=0, help="rollouts side by side, instead of one in detail"
    )
    args = parser.parse_args()
    try:
        index = write(
            args.checkpoint,
            args.config,
            args.model,
            args.input,
            args.out,
            args.chunks,
            args.seed,
            args.lanes,
        )
    except ExportError as error:
        sys.exit(f"golden: {error}")
    print(
        f"{args.out}: {index['chunks']} chunks, {index['file']['bytes'] / 1e6:.2f} MB",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
