"""Opens a checkpoint: a folder from training, an exported folder, or `random:SEED`.

Nothing is guessed: a missing, unknown or wrongly shaped weight is an error that names it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from .codec import Codec
from .config import ModelConfig, from_dict
from .model import DriveWam

POLICY_FILES = ("dit.safetensors", "context.safetensors")
CODEC_FILES = ("vae_encode.safetensors", "vae_decode.safetensors")
RANDOM_NORMALISATION = {"action": {"q01": [0.0, -0.02, -0.02], "q99": [1.5, 0.02, 0.02], "epsilon": 1e-6}}


class ExportError(RuntimeError):
    """What could not be exported, and why."""


@dataclass
class Checkpoint:
    """Everything that an export or a golden run needs. `weights`: SHA-256 by file name, empty for random weights."""

    config: ModelConfig
    model: DriveWam
    codec: Codec
    rows: dict[str, torch.Tensor]  # text rows [R, Dt] of each route command
    normalisation: dict
    record: dict
    weights: dict[str, str] = field(default_factory=dict)


def read_state(folder: Path, whole: str, parts: tuple[str, ...]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The state dict of a checkpoint folder, and its files: one file, or the parts of an exported folder."""
    if (folder / whole).exists():
        return load_file(folder / whole), [whole]
    missing = [p for p in parts if not (folder / p).exists()]
    if missing:
        raise ExportError(f"{folder}: neither {whole} nor {', '.join(missing)}")
    state = {}
    for part in parts:
        state |= load_file(folder / part)
    return state, list(parts)


def load_strictly(module: torch.nn.Module, state: dict[str, torch.Tensor], what: str) -> None:
    wanted = module.state_dict()
    problems = [f"missing {k}" for k in wanted if k not in state] + [f"not known {k}" for k in state if k not in wanted]
    problems += [f"{k}: shape {tuple(state[k].shape)}, wanted {tuple(wanted[k].shape)}" for k in wanted if k in state and state[k].shape != wanted[k].shape]
    if problems:
        raise ExportError(f"{what}: " + "; ".join(problems))
    module.load_state_dict(state)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def open_checkpoint(spec: str, config: ModelConfig | None) -> Checkpoint:
    """`config` may be None for an exported folder: its manifest knows."""
    if spec.startswith("random:"):
        torch.manual_seed(int(spec.removeprefix("random:")))
        model, codec = DriveWam(config).eval(), Codec(config).eval()
        rows = {name: torch.randn(4, config.text.dim) for name in config.text.commands}
        return Checkpoint(config, model, codec, rows, RANDOM_NORMALISATION, {"weights": spec})
    folder = Path(spec)
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text()) if (folder / "manifest.yaml").exists() else None
    if config is None:
        if manifest is None:
            raise ExportError(f"{folder}: no manifest.yaml to tell the model, and no configuration given")
        config = from_dict(manifest["model"])
    model, codec = DriveWam(config).eval(), Codec(config).eval()
    policy, policy_files = read_state(folder, "policy.safetensors", POLICY_FILES)
    load_strictly(model, policy, f"{folder}: policy")
    state, codec_files = read_state(folder, "codec.safetensors", CODEC_FILES)
    load_strictly(codec, state, f"{folder}: codec")
    with safe_open(folder / "commands.safetensors", "pt") as file:
        rows = {name: file.get_tensor(name) for name in config.text.commands}
    if manifest is not None:
        record, normalisation = manifest["training"], manifest["normalisation"]
    else:
        record = yaml.safe_load((folder / "training.yaml").read_text())
        normalisation = yaml.safe_load((folder / "normalisation.yaml").read_text())
    files = sorted({*policy_files, *codec_files, "commands.safetensors"})
    return Checkpoint(config, model, codec, rows, normalisation, record, {name: sha256(folder / name) for name in files})
