"""Weights by name, read one at a time, so that an exported model need not fit into memory.

The model is built on `meta`. It is traced with zeros in place of its weights (`weightless`), and
run in PyTorch with each weight read when an operation asks for it and freed after it
(`LazyWeights`). `materialize` builds a model with all weights.
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
    """Weights by name. `read(name)` reads the tensor, in f32, on every call."""

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], torch.Tensor]

    def all(self) -> dict[str, torch.Tensor]:
        return {name: self.read(name) for name in self.shapes}


def in_memory(tensors: dict[str, torch.Tensor]) -> Weights:
    """Weights of tensors that are in memory."""
    return Weights(
        {name: tuple(value.shape) for name, value in tensors.items()},
        lambda name: tensors[name].detach().to(torch.float32),
    )


def read_tensor(file: Path, name: str) -> torch.Tensor:
    """Reads a tensor in its stored type. Opens the file for this tensor alone: the pages of a
    mapping stay with the process until the file is closed."""
    with safe_open(file, "pt") as opened:
        return opened.get_tensor(name)


def on_meta(kind: type, config) -> torch.nn.Module:
    """A module of `kind` without weights."""
    with torch.device("meta"):
        return kind(config).eval()


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def materialize(kind: type, config, weights: Weights) -> torch.nn.Module:
    """A module of `kind` with all of `weights`, and no other memory."""
    module = on_meta(kind, config)
    module.load_state_dict(weights.all(), assign=True)
    return module


def weightless(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of `module` to be traced: every weight, real or on `meta`, reads zeros that all
    weights share. A tied weight stays one."""
    named = module.state_dict(keep_vars=True).values()
    # The system maps one page of zeros for the whole array.
    zeros = torch.from_numpy(np.zeros(max(value.nbytes for value in named), dtype=np.uint8))
    known = {}
    for value in named:
        zero = zeros[: value.nbytes].view(value.dtype).view(value.shape)
        known[id(value)] = (
            torch.nn.Parameter(zero, requires_grad=False)
            if isinstance(value, torch.nn.Parameter)
            else zero
        )
    return copy.deepcopy(module, known)


class LazyWeights(TorchFunctionMode):
    """While entered, replaces every weight of `module` that an operation receives by that of
    `weights`. `prefix`: of the names inside the module."""

    def __init__(self, module: torch.nn.Module, prefix: str, weights: Weights):
        super().__init__()
        named = module.state_dict(keep_vars=True).items()
        self.named, self.weights = (
            {id(value): name.removeprefix(prefix) for name, value in named},
            weights,
        )

    def loan(self, value: torch.Tensor) -> torch.Tensor:
        return self.weights.read(self.named[id(value)]) if id(value) in self.named else value

    def __torch_function__(self, function, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(torch.Tensor, self.loan, (args, kwargs or {}))
        return function(*args, **kwargs)
