"""The latents of all drives, computed once: the policy's training data.

Each frame has its latent as a first frame, and the latent of the chunk that follows it (the next
four frames at 1 Hz, with the causal cache of the frame itself).
"""

from __future__ import annotations

from dataclasses import dataclass

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


def encode_all(codec: Codec, drives: list[Drive], per_second: int) -> list[Latents]:
    out = []
    for i, drive in enumerate(drives):
        out.append(encode_drive(codec, drive, per_second))
        if (i + 1) % 100 == 0:
            print(f"latents of {i + 1} of {len(drives)} drives", flush=True)
    return out
