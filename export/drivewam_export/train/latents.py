"""The latents of all drives: the policy's training data.

Each frame has its latent as a first frame, and the latent of the chunk that follows it (the next
four frames at 1 Hz, with the causal cache of the frame itself). They are computed once and kept
beside the drive, in files that are named by the hash of the codec's weights.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..codec import Codec
from .codec import to_frames
from .data import Drive


@dataclass
class Latents:
    first: torch.Tensor  # [n, Cz, Hz, Wz] f16
    chunk: torch.Tensor  # [n - 4 per_second, Cz, Hz, Wz] f16


@torch.no_grad()
def encode_drive(codec: Codec, drive: Drive, per_second: int) -> Latents:
    """All latents of one drive, on the codec's device. The normalised latent of a stored chunk
    equals that of the streaming encoder."""
    encoder, device = codec.encoder, codec.latent_mean.device
    parts = np.array_split(drive.frames, max(1, len(drive.frames) // 64))
    stems = torch.cat([encoder.stem(to_frames(part, device)) for part in parts])
    normal = lambda raw: ((raw - codec.latent_mean) / codec.latent_std).half()
    empty = torch.zeros_like(stems[:1])
    first = [
        normal(encoder.mix(torch.cat([empty.expand(len(p), -1, -1, -1)] + [p] * encoder.frames, 1)))
        for p in stems.split(64)
    ]
    step = per_second
    span = len(stems) - encoder.frames * step
    shifted = [stems[i * step : i * step + span] for i in range(encoder.frames + 1)]
    joined = torch.cat(shifted, 1)
    chunk = [normal(encoder.mix(p)) for p in joined.split(64)]
    return Latents(torch.cat(first), torch.cat(chunk))


def codec_hash(codec: Codec) -> str:
    """Twelve digits of the SHA-256 of the weights."""
    digest = hashlib.sha256()
    for name, value in sorted(codec.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def kept(drive: Drive, name: str, make) -> Latents:
    """The latents in the files `name` of a drive, made by `make` where they are missing. Processes
    may race: each writes aside and renames."""
    files = [Path(drive.path) / f"{name}.{part}.npy" for part in ("first", "chunk")]
    if not all(file.exists() for file in files):
        made = make()
        for file, value in zip(files, (made.first, made.chunk)):
            aside = file.with_suffix(f".{os.getpid()}.partial")
            try:
                with aside.open("wb") as out:
                    np.save(out, value.cpu().numpy())
                aside.rename(file)
            finally:
                aside.unlink(missing_ok=True)
    return Latents(*(torch.from_numpy(np.load(file)) for file in files))


def encode_all(codec: Codec, drives: list[Drive], per_second: int) -> list[Latents]:
    """The latents of `drives`, in their order. Processes that start together begin with different
    drives, so that each finds what the others have made."""
    out, name = {}, f"latents-{codec_hash(codec)}"
    for done, i in enumerate(np.random.default_rng(os.getpid()).permutation(len(drives)), 1):
        drive = drives[i]
        out[i] = kept(drive, name, lambda drive=drive: encode_drive(codec, drive, per_second))
        if done % 100 == 0:
            print(f"latents of {done} of {len(drives)} drives", flush=True)
    return [out[i] for i in range(len(drives))]
