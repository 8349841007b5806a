"""The `model:` section of `configs/model/*.yaml` as a frozen, checked value.

The runtime reads the same section (runtime/core/src/dims.rs).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path

import yaml


class ConfigError(ValueError):
    """A key is unknown, missing, of a wrong type or out of range. The message names it."""


@dataclass(frozen=True)
class Rope:
    theta: float
    split: tuple[int, ...]


@dataclass(frozen=True)
class Image:
    height: int
    width: int
    frame_hz: int
    frames_per_latent: int


@dataclass(frozen=True)
class Camera:
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float


@dataclass(frozen=True)
class Latent:
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Action:
    tokens: int
    steps_per_token: int
    rate_hz: int
    channels: int
    used_channels: tuple[int, ...]


@dataclass(frozen=True)
class Ego:
    features: tuple[str, ...]
    scale: tuple[float, ...]
    tokens: int


@dataclass(frozen=True)
class Text:
    dim: int
    max_rows: int
    padded_rows: int
    commands: tuple[str, ...]


@dataclass(frozen=True)
class ModelConfig:
    """One model. ARCHITECTURE.md explains the letters."""

    name: str
    dim: int
    layers: int
    heads: int
    head_dim: int
    ffn_dim: int
    freq_dim: int
    eps: float
    action_hidden_dim: int
    ego_hidden_dim: int
    self_scale: str
    rope: Rope
    image: Image
    camera: Camera
    latent: Latent
    patch: tuple[int, ...]
    action: Action
    ego: Ego
    text: Text

    def __post_init__(self):
        checks = [
            ("dim", self.heads * self.head_dim == self.dim, "heads * head_dim"),
            (
                "rope.split",
                sum(self.rope.split) == self.head_dim and all(s % 2 == 0 for s in self.rope.split),
                "even, summing to head_dim",
            ),
            ("self_scale", self.self_scale in ("none", "log"), "none or log"),
            (
                "patch",
                self.patch[0] == 1
                and self.latent.height % self.patch[1] == 0
                and self.latent.width % self.patch[2] == 0,
                "a tiling of the latent",
            ),
            (
                "action.used_channels",
                len(self.action.used_channels) == 3 * self.action.steps_per_token
                and max(self.action.used_channels) < self.action.channels,
                "three per step, below channels",
            ),
            ("ego.scale", len(self.ego.scale) == len(self.ego.features), "one per feature"),
            ("text.padded_rows", self.text.padded_rows >= self.text.max_rows, "at least max_rows"),
        ]
        for key, good, wanted in checks:
            if not good:
                raise ConfigError(f"model.{key}: out of range (wanted {wanted})")

    @property
    def nv(self) -> int:
        """Video tokens of a chunk."""
        return (self.latent.height // self.patch[1]) * (self.latent.width // self.patch[2])

    @property
    def na(self) -> int:
        """Action tokens of a chunk."""
        return self.action.tokens

    @property
    def video_channels(self) -> int:
        return self.latent.channels * self.patch[1] * self.patch[2]

    @property
    def token_width(self) -> int:
        """W: the width of a token row."""
        return max(self.video_channels, self.action.channels)

    @property
    def text_rows(self) -> int:
        """T: text rows, the merged padding row included."""
        return self.text.max_rows + 1

    @property
    def poses(self) -> int:
        """Trajectory poses of a chunk."""
        return self.action.tokens * self.action.steps_per_token

    @property
    def chunk_s(self) -> float:
        return self.image.frames_per_latent / self.image.frame_hz

    def to_dict(self) -> dict:
        """The `model:` section as plain dicts and lists."""
        return _plain(dataclasses.asdict(self))


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def _build(kind, value, path):
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: wanted a section, got {value!r}")
        hints = typing.get_type_hints(kind)
        for key in value:
            if key not in hints:
                raise ConfigError(f"{path}.{key}: unknown key (known: {', '.join(hints)})")
        for key in hints:
            if key not in value:
                raise ConfigError(f"{path}.{key}: missing")
        return kind(
            **{key: _build(hint, value[key], f"{path}.{key}") for key, hint in hints.items()}
        )
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{path}: wanted a list, got {value!r}")
        inner = typing.get_args(kind)[0]
        return tuple(_build(inner, v, f"{path}[{i}]") for i, v in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if (
        isinstance(kind, types.GenericAlias)
        or not isinstance(value, kind)
        or isinstance(value, bool)
    ):
        raise ConfigError(f"{path}: wanted {kind.__name__}, got {value!r}")
    return value


def from_dict(section: dict) -> ModelConfig:
    """Checks a `model:` section. Raises ConfigError."""
    return _build(ModelConfig, section, "model")


def load(path: str | Path) -> ModelConfig:
    """Reads the `model:` section of a YAML file. Raises ConfigError."""
    document = yaml.safe_load(Path(path).read_text())
    if not isinstance(document, dict) or "model" not in document:
        raise ConfigError(f"{path}: no `model:` section")
    return from_dict(document["model"])
