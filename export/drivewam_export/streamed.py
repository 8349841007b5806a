"""Weights by name, read one at a time, so that a model that is exported need not fit into memory.

Such a model is built on `meta`, traced with zeros in the place of its weights (`hollow`), and run in PyTorch with each weight read as an operation asks
for it and let go after it (`Lent`). Where a whole model is wanted, `whole` fills it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from safetensors import safe_open
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only


@dataclass(frozen=True)
class Weights:
    """`read(name)`: the tensor in f32. Nothing is kept: who asks twice waits twice."""

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], torch.Tensor]

    def all(self) -> dict[str, torch.Tensor]:
        return {name: self.read(name) for name in self.shapes}


def in_memory(tensors: dict[str, torch.Tensor]) -> Weights:
    """Tensors that are in memory already."""
    return Weights({name: tuple(value.shape) for name, value in tensors.items()}, lambda name: tensors[name].detach().to(torch.float32))


def read_tensor(file: Path, name: str) -> torch.Tensor:
    """As it is stored. The file is opened for this tensor alone: the pages of a mapping stay with the process until it is closed."""
    with safe_open(file, "pt") as opened:
        return opened.get_tensor(name)


def on_meta(kind: type, config) -> torch.nn.Module:
    """A module of `kind` without weights."""
    with torch.device("meta"):
        return kind(config).eval()


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def materialize(kind: type, config, weights: Weights) -> torch.nn.Module:
    """A module of `kind` that holds all of `weights`, and no other memory."""
    module = on_meta(kind, config)
    module.load_state_dict(weights.all(), assign=True)
    return module


def weightless(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of `module` to be traced: every weight, real or on `meta`, reads zeros that all of them share. A tied weight stays one."""
    named = module.state_dict(keep_vars=True).values()
    zeros = torch.from_numpy(np.zeros(max(value.nbytes for value in named), dtype=np.uint8))  # from the system, which lends one page of zeros for all
    known = {}
    for value in named:
        zero = zeros[: value.nbytes].view(value.dtype).view(value.shape)
        known[id(value)] = torch.nn.Parameter(zero, requires_grad=False) if isinstance(value, torch.nn.Parameter) else zero
    return copy.deepcopy(module, known)


class LazyWeights(TorchFunctionMode):
    """While it is entered, an operation that is given a weight of `module` gets the one of `weights`. `prefix`: of names inside the module."""

    def __init__(self, module: torch.nn.Module, prefix: str, weights: Weights):
        super().__init__()
        named = module.state_dict(keep_vars=True).items()
        self.named, self.weights = {id(value): name.removeprefix(prefix) for name, value in named}, weights

    def lend(self, value: torch.Tensor) -> torch.Tensor:
        return self.weights.read(self.named[id(value)]) if id(value) in self.named else value

    def __torch_function__(self, function, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(torch.Tensor, self.lend, (args, kwargs or {}))
        return function(*args, **kwargs)
