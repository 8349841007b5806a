"""Opens checkpoints and writes folders atomically.

A checkpoint is a folder from training, an exported folder, `random:SEED`, or `lingbot:PATH` and
`wan:PATH` (checkpoint.py). Nothing is guessed: a missing, unknown or wrongly shaped weight is an
error that names it; an initialised weight is listed. Weights are read on request (streamed.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
import yaml
from safetensors import safe_open

from .checkpoint import KINDS, CheckpointError, Names, mapped
from .codec import Codec
from .config import ModelConfig, from_dict
from .model import DriveWam
from .monitor import Monitor
from .random_weights import generator, random_weights
from .streamed import Weights, materialize, on_meta, read_tensor, shapes_of

POLICY_FILES = ("dit.safetensors", "context.safetensors")
CODEC_FILES = ("vae_encode.safetensors", "vae_decode.safetensors")
# Schedule shifts that the weights were trained with: those of train/policy.py, and LingBot-VA's for
# mapped checkpoints (DriveWAM's are not known).
TRAINED_SHIFTS = {"video": {"shift": 2.0}, "action": {"shift": 1.0}}
LINGBOT_SHIFTS = {"video": {"shift": 5.0}, "action": {"shift": 1.0}}
RANGES = "trained_ranges.yaml"
MONITOR_FILES = ("monitor.safetensors", "monitors.yaml")
RANDOM_NORMALISATION = {
    "action": {"q01": [0.0, -0.02, -0.02], "q99": [1.5, 0.02, 0.02], "epsilon": 1e-6}
}


class ExportError(RuntimeError):
    """Something cannot be exported. The message says what and why."""


@dataclass
class Checkpoint:
    """Everything that an export or a golden run needs. `weights`: SHA-256 by file name, empty for
    random weights.

    `model` and `codec` are built on first access and hold all their weights in memory.
    """

    config: ModelConfig
    policy_weights: Weights | None  # None for a codec alone
    codec_weights: Weights | None  # None for a mapped checkpoint, whose codec is a Wan VAE
    rows: dict[str, torch.Tensor]  # text rows [R, Dt] of each route command
    normalisation: dict
    record: dict
    weights: dict[str, str] = field(default_factory=dict)
    schedule: dict = field(default_factory=lambda: TRAINED_SHIFTS)
    trained_ranges: dict | None = None  # train/ranges.py; None: not stated
    monitor_weights: Weights | None = None  # train/monitor.py; None: the policy has no monitor
    monitors: dict | None = None  # its constants

    @cached_property
    def model(self) -> DriveWam | None:
        return self.policy_weights and materialize(DriveWam, self.config, self.policy_weights)

    @cached_property
    def codec(self) -> Codec | None:
        return self.codec_weights and materialize(Codec, self.config, self.codec_weights)


def stored_weights(folder: Path, single: str, parts: tuple[str, ...]) -> tuple[Weights, list[str]]:
    """The weights of a checkpoint folder, and the names of their files: `single`, or else the
    `parts` of an exported folder. Raises ExportError where neither is there."""
    files = [single] if (folder / single).exists() else list(parts)
    missing = [p for p in files if not (folder / p).exists()]
    if missing:
        raise ExportError(f"{folder}: has neither {single} nor {', '.join(missing)}")
    places, shapes = {}, {}
    for file in files:
        with safe_open(folder / file, "pt") as opened:
            for name in opened.keys():
                places[name], shapes[name] = (
                    folder / file,
                    tuple(opened.get_slice(name).get_shape()),
                )
    return Weights(
        shapes, lambda name: read_tensor(places[name], name).to(torch.float32, copy=True)
    ), files


def check_weights(kind: type, config: ModelConfig, weights: Weights, what: str) -> Weights:
    """Returns `weights`. Raises ExportError unless they are exactly the weights of a `kind`."""
    wanted, got = shapes_of(on_meta(kind, config)), weights.shapes
    problems = [f"missing {k}" for k in wanted if k not in got] + [
        f"unknown {k}" for k in got if k not in wanted
    ]
    problems += [
        f"{k}: shape {got[k]}, wanted {wanted[k]}"
        for k in wanted
        if k in got and got[k] != wanted[k]
    ]
    if problems:
        raise ExportError(f"{what}: " + "; ".join(problems))
    return weights


@contextmanager
def noticed_interrupt():
    """Yields a function that raises `KeyboardInterrupt` if Ctrl-C was pressed. Some libraries
    swallow the one that Python raises: PyTorch's tracer does when it comes within a callback."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pressed = threading.Event()

    def note(_signal, _frame):
        pressed.set()
        raise KeyboardInterrupt

    def check():
        if pressed.is_set():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def atomic_folder(out: Path):
    """Yields a folder beside `out` to be filled, and renames it to `out` at the end. When anything
    fails before that, `out` stays as it was."""
    aside, old = out.with_name(out.name + ".partial"), out.with_name(out.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        with noticed_interrupt() as check:
            yield aside
            check()
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            os.rename(out, old)
        os.rename(aside, out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Mapping:
    """How to open a checkpoint with other names. `beside`: a folder with `commands.safetensors`
    (text rows of each route command) and `normalisation.yaml`, which it does not hold."""

    beside: Path | None = None
    names: Names = Names()
    missing: str = "error"


def read_rows(path: Path, config: ModelConfig) -> dict[str, torch.Tensor]:
    """Reads the text rows of every route command."""
    with safe_open(path, "pt") as file:
        absent = [name for name in config.text.commands if name not in file.keys()]
        if absent:
            raise ExportError(f"{path}: missing {', '.join(absent)}")
        rows = {name: file.get_tensor(name) for name in config.text.commands}
    for name, value in rows.items():
        if (
            value.dim() != 2
            or value.shape[1] != config.text.dim
            or not 1 <= value.shape[0] <= config.text.max_rows
        ):
            raise ExportError(
                f"{path}: {name}: shape {tuple(value.shape)}, wanted 1 to {config.text.max_rows} rows of {config.text.dim}"
            )
    return rows


def read_ranges(path: Path) -> dict | None:
    """The trained ranges that stand beside weights; None where nobody states them."""
    return yaml.safe_load(path.read_text()) if path.exists() else None


def open_monitor(folder: Path, config: ModelConfig) -> tuple[Weights | None, dict | None]:
    """The weights of a monitor and the constants of the manifest's `monitors`, as
    train/monitor.py wrote them beside each other; twice None where there is none."""
    weights, constants = (folder / name for name in MONITOR_FILES)
    if not weights.exists():
        return None, None
    stored = stored_weights(folder, MONITOR_FILES[0], ())[0]
    checked = check_weights(Monitor, config, stored, f"{folder}: monitor")
    if constants.exists():
        return checked, yaml.safe_load(constants.read_text())
    return checked, yaml.safe_load((folder / "manifest.yaml").read_text())["monitors"]


def open_mapped(kind: str, path: Path, config: ModelConfig, mapping: Mapping) -> Checkpoint:
    if mapping.beside is None:
        raise ExportError(
            f"{kind}:{path}: has neither texts nor normalisation; --beside must name a folder "
            "with commands.safetensors and normalisation.yaml"
        )
    rows = read_rows(mapping.beside / "commands.safetensors", config)
    normalisation = yaml.safe_load((mapping.beside / "normalisation.yaml").read_text())
    try:
        found = mapped(config, kind, path, mapping.names, mapping.missing)
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    for what, names in (
        ("INITIALISED, not from the checkpoint", found.initialised),
        ("unused", found.unused),
    ):
        for name in names:
            print(f"{path}: {what}: {name}", file=sys.stderr)
    weights = {file.name: sha256(file) for file in found.files}
    record = {
        "weights": {"kind": kind, "files": weights},
        "initialised": found.initialised,
        "unused": found.unused,
    }
    ranges = read_ranges(mapping.beside / RANGES)
    return Checkpoint(
        config, found.weights, None, rows, normalisation, record, weights, LINGBOT_SHIFTS, ranges
    )


def open_checkpoint(
    spec: str, config: ModelConfig | None, mapping: Mapping = Mapping(), with_codec: bool = True
) -> Checkpoint:
    """Opens `spec`. `config` may be None for an exported folder, whose manifest has it. Without
    `with_codec`, random weights have no codec: the small one does not fit every model."""
    kind, _, path = spec.partition(":")
    if kind in KINDS:
        return open_mapped(kind, Path(path), config, mapping)
    if spec.startswith("random:"):
        seed = int(spec.removeprefix("random:"))
        try:
            policy = random_weights(shapes_of(on_meta(DriveWam, config)), seed)
            codec = random_weights(shapes_of(on_meta(Codec, config)), seed) if with_codec else None
        except ValueError as error:
            raise ExportError(
                f"{spec}: {config.name}: {error}; wanted --vae, or --graphs without a codec"
            ) from error
        rows = {
            name: torch.randn(4, config.text.dim, generator=generator(seed, name))
            for name in config.text.commands
        }
        return Checkpoint(config, policy, codec, rows, RANDOM_NORMALISATION, {"weights": spec})
    folder = Path(spec)
    manifest = (
        yaml.safe_load((folder / "manifest.yaml").read_text())
        if (folder / "manifest.yaml").exists()
        else None
    )
    if config is None:
        if manifest is None:
            raise ExportError(
                f"{folder}: no manifest.yaml and no configuration: the model is unknown"
            )
        config = from_dict(manifest["model"])
    policy, policy_files = stored_weights(folder, "policy.safetensors", POLICY_FILES)
    policy = check_weights(DriveWam, config, policy, f"{folder}: policy")
    codec, codec_files = stored_weights(folder, "codec.safetensors", CODEC_FILES)
    codec = check_weights(Codec, config, codec, f"{folder}: codec")
    rows = read_rows(folder / "commands.safetensors", config)
    if manifest is not None:
        record, normalisation, schedule, ranges = (
            manifest["training"],
            manifest["normalisation"],
            manifest["schedule"],
            manifest.get("trained_ranges"),
        )
    else:
        schedule = TRAINED_SHIFTS
        record = yaml.safe_load((folder / "training.yaml").read_text())
        normalisation = yaml.safe_load((folder / "normalisation.yaml").read_text())
        ranges = read_ranges(folder / RANGES)
    monitor, monitors = open_monitor(folder, config)
    monitor_files = MONITOR_FILES[:1] if monitor else ()
    files = sorted({*policy_files, *codec_files, *monitor_files, "commands.safetensors"})
    return Checkpoint(
        config,
        policy,
        codec,
        rows,
        normalisation,
        record,
        {name: sha256(folder / name) for name in files},
        schedule,
        ranges,
        monitor,
        monitors,
    )
