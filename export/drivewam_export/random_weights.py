"""Random weights, each from the seed and its own name.

So they do not depend on the order in which they are generated, nor on how many layers the model
has.
"""

from __future__ import annotations

import hashlib
import math

import torch

from .streamed import Weights


def generator(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(
        int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")
    )


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> Weights:
    """Weights as PyTorch initialises its layers: gains 1 and offsets 0; modulation tables normal
    with variance 1 / width; matrices and their biases uniform within the inverse root of the
    fan-in. Latent statistics are 0 and 1."""

    def read(name: str) -> torch.Tensor:
        shape, (stem, _, kind) = shapes[name], name.rpartition(".")
        if kind in ("latent_mean", "latent_std"):
            return torch.full(shape, float(kind == "latent_std"))
        if kind == "scale_shift_table":
            return torch.randn(shape, generator=generator(seed, name)) / shape[-1] ** 0.5
        if "norm" in stem.rpartition(".")[2]:
            return torch.full(shape, float(kind == "weight"))
        bound = math.prod(shapes[f"{stem}.weight"][1:]) ** -0.5
        return torch.empty(shape).uniform_(-bound, bound, generator=generator(seed, name))

    return Weights(shapes, read)
