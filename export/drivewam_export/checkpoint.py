"""Maps checkpoints with other names (LingBot-VA, diffusers' Wan) to the state dict of `DriveWam`.

A checkpoint is one safetensors file, an `*.index.json` with its shards, or a folder with either.
Names and shapes are compared before any tensor is read; the error names every tensor that is
unmapped, missing, doubled or of a wrong shape. Tensors are then read one at a time, on request
(streamed.py).

LingBot-VA's names are those of its published code (`wan_va/modules/model.py`). DriveWAM's release
adds an ego branch and replaces two layers by MLPs; its names for them are not known, so they are
options (`Names`) whose defaults are our own. Both sources order the rows of the head as (row,
column, channel). Ours are (channel, row, column), the order of the patch embedding's columns in
both.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Callable

import torch
from safetensors import SafetensorError, safe_open

from .config import ModelConfig
from .model import DriveWam
from .random_weights import generator
from .streamed import Weights, on_meta, read_tensor, shapes_of

KINDS = ("lingbot", "wan")
# What a backbone without actions lacks. Only these weights may be initialised.
ADDED = re.compile(
    r"action_embedder\.|action_proj_out\.|ego_embedder\.|condition_embedder_action\.|blocks\.\d+\.(attn_ego|norm_ego)\."
)
FILES = (
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "model.safetensors.index.json",
    "model.safetensors",
)


class CheckpointError(RuntimeError):
    """The checkpoint does not fit the model. The message names every tensor."""


@dataclass(frozen=True)
class Names:
    """The checkpoint's names of DriveWAM's own modules. The release does not tell them, hence
    options. `mlp`: its first and second layer."""

    action_embedder: str = "action_embedder"
    action_proj_out: str = "action_proj_out"
    ego_embedder: str = "ego_embedder"
    ego_attention: str = "attn_ego"
    ego_norm: str = "norm_ego"
    mlp: str = "linear_1/linear_2"

    @classmethod
    def parse(cls, text: str) -> "Names":
        """Parses `ego_attention=attn3,mlp=0/2`."""
        known, given = {f.name for f in fields(cls)}, {}
        for part in filter(None, text.split(",")):
            key, _, value = part.partition("=")
            if key not in known or not value or (key == "mlp" and value.count("/") != 1):
                raise CheckpointError(
                    f"names: got {part!r}, wanted KEY=NAME with KEY one of {', '.join(sorted(known))} (mlp=FIRST/SECOND)"
                )
            given[key] = value
        return cls(**given)


@dataclass(frozen=True)
class Rule:
    """Maps a name of the checkpoint to one of ours. `ours` None: the model has no such tensor;
    `why` is the reason, `needless` means that nothing is lost."""

    pattern: str
    ours: str | None
    convert: Callable | None = None
    why: str = ""
    needless: bool = False


def head_rows(config: ModelConfig, value: torch.Tensor) -> torch.Tensor:
    """Reorders rows from (row, column, channel) to (channel, row, column)."""
    _, ph, pw = config.patch
    return value.unflatten(0, (ph, pw, config.latent.channels)).movedim(2, 0).flatten(0, 2)


def flat_patch(config: ModelConfig, value: torch.Tensor) -> torch.Tensor:
    """A Conv3d's weight [dim, C, 1, ph, pw] as a matrix."""
    return value.flatten(1)


def rules(kind: str, names: Names) -> list[Rule]:
    """The table. The first pattern that matches the whole name decides."""
    both = r"\.(weight|bias)"
    table = [
        Rule(
            r"(condition_embedder\.(?:time_embedder\.linear_[12]|time_proj|text_embedder\.linear_[12])\.(?:weight|bias))",
            r"\1",
        ),
        Rule(r"(blocks\.\d+\.attn[12]\.(?:to_[qkv]|to_out\.0|norm_[qk])\.(?:weight|bias))", r"\1"),
        Rule(r"(blocks\.\d+\.(?:norm2|ffn\.net\.0\.proj|ffn\.net\.2)\.(?:weight|bias))", r"\1"),
        Rule(r"((?:blocks\.\d+\.)?scale_shift_table)", r"\1"),
        Rule(r"proj_out" + both, r"proj_out.\1", head_rows),
    ]
    if kind == "wan":
        return table + [
            Rule(r"patch_embedding\.weight", "patch_embedding_mlp.weight", flat_patch),
            Rule(r"patch_embedding\.bias", "patch_embedding_mlp.bias"),
        ]
    mlps = []
    for ours in ("action_embedder", "action_proj_out", "ego_embedder"):
        for layer, theirs in zip(("linear_1", "linear_2"), names.mlp.split("/")):
            mlps.append(
                Rule(re.escape(f"{getattr(names, ours)}.{theirs}") + both, rf"{ours}.{layer}.\1")
            )
    return (
        table
        + mlps
        + [
            Rule(r"patch_embedding_mlp" + both, r"patch_embedding_mlp.\1"),
            Rule(
                r"(condition_embedder_action\.(?:time_embedder\.linear_[12]|time_proj)\.(?:weight|bias))",
                r"\1",
            ),
            Rule(
                r"condition_embedder_action\.text_embedder\..*",
                None,
                why="text goes through the video embedder",
                needless=True,
            ),
            Rule(
                r"(blocks\.\d+)\."
                + re.escape(names.ego_attention)
                + r"\.((?:to_[qkv]|to_out\.0|norm_[qk])\.(?:weight|bias))",
                r"\1.attn_ego.\2",
            ),
            Rule(r"(blocks\.\d+)\." + re.escape(names.ego_norm) + both, r"\1.norm_ego.\2"),
            Rule(
                r"(?:action_embedder|action_proj_out)" + both,
                None,
                why="LingBot-VA's single layer; DriveWAM has an MLP there",
            ),
        ]
    )


class Reader:
    """Names, shapes and tensors of a checkpoint, whichever files it consists of."""

    def __init__(self, path: Path):
        if path.is_dir():
            found = [path / name for name in FILES if (path / name).exists()]
            if not found:
                raise CheckpointError(f"{path}: has none of {', '.join(FILES)}")
            path = found[0]
        if not path.exists():
            raise CheckpointError(f"{path}: no such file")
        self.path, self.place = path, {}
        if path.name.endswith(".index.json"):
            wanted = json.loads(path.read_text())["weight_map"]
            files = sorted(set(wanted.values()))
            absent = [
                name
                for name in files
                if Path(name).name != name or not (path.parent / name).exists()
            ]
            if absent:
                raise CheckpointError(f"{path}: missing shards beside it: {', '.join(absent)}")
            self.files = [path.parent / name for name in files]
        else:
            wanted, self.files = None, [path]
        self.open = {}
        for file in self.files:
            try:
                self.open[file] = safe_open(file, "pt")
            except SafetensorError as error:
                raise CheckpointError(
                    f"{file}: not a complete safetensors file ({error})"
                ) from error
            for name in self.open[file].keys():
                if name in self.place:
                    raise CheckpointError(f"{name}: in {self.place[name].name} and in {file.name}")
                self.place[name] = file
        if wanted is not None:
            wrong = sorted(
                n
                for n in wanted.keys() | self.place.keys()
                if n not in wanted or n not in self.place or wanted[n] != self.place[n].name
            )
            if wrong:
                raise CheckpointError(f"{path}: index and shards disagree on {', '.join(wrong)}")

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.open[self.place[name]].get_slice(name).get_shape())

    def tensor(self, name: str) -> torch.Tensor:
        return read_tensor(self.place[name], name)


@dataclass
class Mapped:
    """The weights of a mapped checkpoint. All come from the checkpoint except `initialised`;
    `unused` lists the checkpoint's tensors that the model does not have."""

    weights: Weights
    initialised: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def source_shape(config: ModelConfig, rule: Rule, wanted: tuple[int, ...]) -> tuple[int, ...]:
    if rule.convert is flat_patch:
        return (wanted[0], config.latent.channels, *config.patch)
    return wanted


def plan(
    config: ModelConfig, kind: str, names: Names, reader: Reader, shapes: dict, initialise: bool
):
    """Returns the source name and rule of each of our weights, the weights to initialise, and the
    tensors without a use. Reads no tensor.

    Raises CheckpointError with all problems.
    """
    table, chosen, unused, problems = rules(kind, names), {}, [], []
    for name in reader.place:
        rule = next((r for r in table if re.fullmatch(r.pattern, name)), None)
        ours = (
            None
            if rule is None or rule.ours is None
            else re.fullmatch(rule.pattern, name).expand(rule.ours)
        )
        if rule is not None and ours is None and (rule.needless or initialise):
            unused.append(name)
        elif rule is None or ours not in shapes:
            problems.append(
                f"unknown {name}" + (f" ({rule.why})" if rule is not None and rule.why else "")
            )
        elif ours in chosen:
            problems.append(f"{name} and {chosen[ours][0]} both map to {ours}")
        else:
            chosen[ours] = (name, rule)
            wanted = source_shape(config, rule, shapes[ours])
            if reader.shape(name) != wanted:
                problems.append(f"{name}: shape {reader.shape(name)}, wanted {wanted}")
    missing = [ours for ours in shapes if ours not in chosen]
    initialised = [ours for ours in missing if initialise and ADDED.match(ours)]
    problems += [f"missing {ours}" for ours in missing if ours not in initialised]
    if problems:
        raise CheckpointError(f"{reader.path}: as a {kind} checkpoint: " + "; ".join(problems))
    return chosen, initialised, unused


def fresh(
    name: str, shape: tuple[int, ...], read: Callable[[str], torch.Tensor], seed: int
) -> torch.Tensor:
    """Initialises a weight that the checkpoint lacks. The action's time embedder copies the video's
    (as LingBot-VA did), the output of the ego branch is zero, other weights are small."""
    if name.startswith("condition_embedder_action."):
        return read(name.replace("_action", "", 1))
    if name.endswith("bias") or ".attn_ego.to_out." in name:
        return torch.zeros(shape)
    if "norm" in name.split(".")[-2]:
        return torch.ones(shape)
    return 0.02 * torch.randn(shape, generator=generator(seed, name))


def mapped(
    config: ModelConfig,
    kind: str,
    path: Path,
    names: Names = Names(),
    missing: str = "error",
    seed: int = 0,
) -> Mapped:
    """The weights of `path` as those of `config`'s model. `missing: init` initialises what a
    backbone without actions lacks, and lists it."""
    if kind not in KINDS or missing not in ("error", "init"):
        raise CheckpointError(
            f"got kind {kind!r}, missing {missing!r}; wanted {' or '.join(KINDS)}, error or init"
        )
    reader, shapes = Reader(Path(path)), shapes_of(on_meta(DriveWam, config))
    chosen, initialised, unused = plan(config, kind, names, reader, shapes, missing == "init")

    def read(ours: str) -> torch.Tensor:
        if ours not in chosen:
            return fresh(ours, shapes[ours], read, seed)
        name, rule = chosen[ours]
        value = reader.tensor(name)
        value = rule.convert(config, value) if rule.convert else value
        return value.to(torch.float32, copy=True).contiguous()

    return Mapped(Weights(shapes, read), initialised, unused, reader.files)
