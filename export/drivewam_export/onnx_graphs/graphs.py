"""Each graph as a module with flat, named inputs and outputs, and an example to trace it with."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field

import torch
from torch import nn

from .. import codec as small_codec
from .. import wan_vae
from ..config import ModelConfig
from ..folder import ExportError
from ..model import DriveWam
from ..monitor import CHANNELS, Monitor

NAMES = (
    "vae_encode_first",
    "vae_encode",
    "vae_decode",
    "monitor",
    "context_text",
    "context_ego",
    "dit",
)
# How `dit` writes attention. `scores_concatenated` never copies the pool: two score products, one
# softmax, two value products, summed. `textbook` is the pattern that TensorRT fuses into one kernel
# (model/layers.py, attend_textbook); it copies the pool's keys and values in every pass and layer.
ATTENTIONS = ("scores_concatenated", "textbook")


@dataclass
class Graph:
    """What the exporter needs to know of one graph. `dynamic` names the dynamic axes of each
    tensor: {"tokens": {0: "N"}}."""

    name: str
    module: nn.Module
    prefix: str  # of the weights' names inside the traced module
    weights: str  # the safetensors file that it reads
    inputs: dict[str, torch.Tensor]
    outputs: list[str]
    dynamic: dict[str, dict[int, str]] = field(default_factory=dict)
    attention: str | None = None


CONTEXT = re.compile(
    r"condition_embedder\.text_embedder\.|ego_embedder\.|blocks\.\d+\.attn(2|_ego)\.(to_k|to_v|norm_k)\."
)


def belongs(name: str, file: str) -> bool:
    """Whether the safetensors file `file` holds the weight `name` of its state dict."""
    return {
        "context.safetensors": bool(CONTEXT.match(name)),
        "dit.safetensors": not CONTEXT.match(name),
        "vae_encode.safetensors": not name.startswith("decoder."),
        "monitor.safetensors": True,
        "vae_decode.safetensors": not name.startswith("encoder."),
    }[file]


def layered(stems, layers: int) -> list[str]:
    return [f"{stem}.{layer}" for layer in range(layers) for stem in stems]


class ContextText(nn.Module):
    def __init__(self, model: DriveWam):
        super().__init__()
        self.model = model

    def forward(self, text):
        return tuple(x for kv in self.model.context_text(text) for x in kv)


class ContextEgo(nn.Module):
    def __init__(self, model: DriveWam):
        super().__init__()
        self.model = model

    def forward(self, ego):
        return tuple(x for kv in self.model.context_ego(ego) for x in kv)


class Dit(nn.Module):
    """`attention` is how the graph is written. In PyTorch the module always computes the first way,
    so that the check of a textbook graph is independent."""

    def __init__(self, model: DriveWam, attention: str = ATTENTIONS[0]):
        super().__init__()
        self.model, self.textbook = model, attention == "textbook"

    def forward(self, tokens, is_action, flow_time, rope, mem_bias, text_bias, *rest):
        rest = list(rest)
        self_scale = rest.pop(0) if self.model.config.self_scale == "log" else None
        layers = self.model.config.layers
        pairs = [(rest[2 * i], rest[2 * i + 1]) for i in range(3 * layers)]
        mem, text, ego = pairs[:layers], pairs[layers : 2 * layers], pairs[2 * layers :]
        textbook = self.textbook and torch.onnx.is_in_onnx_export()
        velocity, outputs = self.model.dit(
            tokens,
            is_action,
            flow_time,
            rope,
            mem_bias,
            text_bias,
            self_scale,
            mem,
            text,
            ego,
            textbook,
        )
        return (velocity, *(x for kvq in outputs for x in kvq))


def dit_inputs(
    c: ModelConfig, n_video: int, n_action: int, slots: int, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Random inputs of the `dit` graph."""
    g = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.randn(*shape, generator=g)
    n = n_video + n_action
    angles = torch.rand(n, c.head_dim // 2, generator=g) * 6
    out = {
        "tokens": rand(n, c.token_width),
        "is_action": torch.cat([torch.zeros(n_video), torch.ones(n_action)]),
        "flow_time": torch.tensor([0.6, 0.9]),
        "rope": torch.stack([angles.cos(), angles.sin()], -1),
        "mem_bias": torch.zeros(slots),
        "text_bias": torch.zeros(c.text_rows),
    }
    if c.self_scale == "log":
        out["self_scale"] = torch.rand(n, generator=g) + 0.5
    for stem, rows in (("mem", slots), ("text", c.text_rows), ("ego", c.ego.tokens)):
        for layer in range(c.layers):
            out[f"{stem}_k.{layer}"] = rand(c.heads, rows, c.head_dim)
            out[f"{stem}_v.{layer}"] = rand(c.heads, rows, c.head_dim)
    return out


def policy_graphs(model: DriveWam, attention: str = ATTENTIONS[0]) -> list[Graph]:
    """`context_text`, `context_ego`, `dit`."""
    c = model.config
    dynamic = {name: {0: "N"} for name in ("tokens", "is_action", "rope", "self_scale", "velocity")}
    dynamic["mem_bias"] = {0: "S"}
    dynamic |= {name: {1: "S"} for name in layered(["mem_k", "mem_v"], c.layers)}
    dynamic |= {name: {1: "N"} for name in layered(["k", "v", "q"], c.layers)}
    if c.self_scale != "log":
        del dynamic["self_scale"]
    return [
        Graph(
            "context_text",
            ContextText(model),
            "model.",
            "context.safetensors",
            {"text": torch.randn(c.text_rows, c.text.dim)},
            layered(["text_k", "text_v"], c.layers),
        ),
        Graph(
            "context_ego",
            ContextEgo(model),
            "model.",
            "context.safetensors",
            {"ego": torch.ones(len(c.ego.features))},
            layered(["ego_k", "ego_v"], c.layers),
        ),
        Graph(
            # no more than tells the axes apart
            "dit",
            Dit(model, attention),
            "model.",
            "dit.safetensors",
            dit_inputs(c, 5, 2, 3),
            ["velocity", *layered(["k", "v", "q"], c.layers)],
            dynamic,
            attention,
        ),
    ]


def codec_graphs(codec: small_codec.Codec) -> list[Graph]:
    """`vae_encode_first`, `vae_encode`, `vae_decode` of the small codec."""
    c = codec.config
    frames = torch.rand(c.image.frames_per_latent, 3, c.image.height, c.image.width) * 2 - 1
    cache = torch.randn(1, small_codec.STEM, c.latent.height, c.latent.width)
    latent = torch.randn(c.latent.channels, c.latent.height, c.latent.width)
    first, encode, decode = (
        small_codec.EncodeFirst(codec),
        small_codec.Encode(codec),
        small_codec.Decode(codec),
    )
    outputs = ["latent", "cache_out.0"]
    return [
        Graph(
            "vae_encode_first",
            first,
            "codec.",
            "vae_encode.safetensors",
            {"frames": frames[:1]},
            outputs,
        ),
        Graph(
            "vae_encode",
            encode,
            "codec.",
            "vae_encode.safetensors",
            {"frames": frames, "cache_in.0": cache},
            outputs,
        ),
        Graph(
            "vae_decode", decode, "codec.", "vae_decode.safetensors", {"latent": latent}, ["frames"]
        ),
    ]


class MonitorGraph(nn.Module):
    def __init__(self, monitor: Monitor):
        super().__init__()
        self.monitor = monitor

    def forward(self, latent, increments):
        return self.monitor(latent, increments)


def monitor_graph(monitor: Monitor, c: ModelConfig) -> Graph:
    """`monitor`."""
    inputs = {
        "latent": torch.randn(c.latent.channels, c.latent.height, c.latent.width),
        "increments": torch.rand(c.poses, CHANNELS),
    }
    return Graph(
        "monitor", MonitorGraph(monitor), "monitor.", "monitor.safetensors", inputs, ["unfamiliar"]
    )


@torch.no_grad()
def wan_vae_graphs(codec: wan_vae.WanEncoder, config: ModelConfig) -> list[Graph]:
    """`vae_encode_first`, `vae_encode` of a Wan VAE, for the images of `config`.

    Raises ExportError where the latent shape of `config` is not the codec's.
    """
    image, latent = config.image, config.latent
    frames = torch.rand(image.frames_per_latent, 3, image.height, image.width) * 2 - 1
    got, caches = codec(frames[:1], None)
    if image.frames_per_latent != 4 or tuple(got.shape) != (
        latent.channels,
        latent.height,
        latent.width,
    ):
        wanted = f"{image.frames_per_latent} frames and {dataclasses.astuple(latent)}"
        raise ExportError(
            f"AutoencoderKLWan: four frames make a latent {tuple(got.shape)}, the model wants {wanted}"
        )
    outputs = ["latent", *(f"cache_out.{i}" for i in range(len(caches)))]
    inputs = {"frames": frames} | {f"cache_in.{i}": cache for i, cache in enumerate(caches)}
    first, encode = wan_vae.EncodeFirst(codec), wan_vae.Encode(codec)
    return [
        Graph(
            "vae_encode_first",
            first,
            "codec.",
            "vae_encode.safetensors",
            {"frames": frames[:1]},
            outputs,
        ),
        Graph("vae_encode", encode, "codec.", "vae_encode.safetensors", inputs, outputs),
    ]
