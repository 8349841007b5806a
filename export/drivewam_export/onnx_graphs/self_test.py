"""The self-test of a folder: expected outputs of each graph for inputs that a rule generates.

They are stored in `self_test.safetensors`. The runtime has the same rule.

**Input.** Integer arithmetic is modulo 2^32. Element i (row-major index) of the tensor `name`:

    x = fnv1a32(name) + i
    x ^= x >> 16;  x *= 0x7feb352d;  x ^= x >> 15;  x *= 0x846ca68b;  x ^= x >> 16
    u(name, i) = f32(x >> 8) * 2^-23 - 1, in [-1, 1), exact

fnv1a32 has basis 0x811c9dc5 and prime 0x01000193 and runs over the name's UTF-8 bytes.

| input | value |
|---|---|
| `is_action` | 0 for video rows, which come first, 1 for action rows |
| `flow_time` | 0.75, 0.5 |
| `rope` | row n, pair p of P: cos and sin of pi * u("rope", n * P + p), in f64, stored in f32 |
| `mem_bias`, `text_bias` | 0 |
| `pad_bias` | row i of T: `MASKED` (padding) where 4i >= 3T, else 0 |
| `is_image` | 1 where i mod 4 = 1, else 0 |
| `ids` | floor((u + 1) / 2 * V), V the graph's vocabulary |
| `self_scale` | 1 |
| any other | u |

Then each value is rounded to the type of the graph's input.

`context_text` is asked once more for each route command, by its name: `text` is the command's own
text, padded with zeros. So a text that stands under another command's name is noticed.

**Shapes.** `dit` has three: `video` (N = Nv), `action` (N = Na), `packed` (N = Nv + Na), each with
S = 8 memory slots. `vlm_decoder` has two with as many slots: `one` (N = 1) and `rows` (N = 16). Any
other graph has one, `only`. The inputs of `vlm_decoder` are such that a longer pass begins with the
rows of a shorter one, and earlier rows do not see later ones: the keys and values of `rows` are
compared with the first rows of any pass.

**Output**, from the f32 model in PyTorch, whatever the precision of the folder. Of an output with n
elements, m = min(64, n) are kept: sample j is the element at row-major index floor(j * n / m). All
f32:

| name | shape | meaning |
|---|---|---|
| `GRAPH/SHAPE/OUTPUT` | `[m]` | samples |
| `GRAPH/SHAPE/OUTPUT/norm` | `[1]` | Euclidean norm of the whole output, summed in f64 |
| `trajectory/decoded` | `[poses, 3]` | x, y, yaw of the actions u("actions"), see below |
| `trajectory/predicted` | `[poses, 3]` | x, y, yaw that a short rollout predicts (trajectory.py) |

`decoded`: element (step, channel) of the normalised increments is u("actions", 3 * step + channel).
They are undone with the manifest's `normalisation.action` in f64, and summed. No engine takes part,
so the runtime compares it to 1e-5 m and rad: every digit of the normalisation that moves a
trajectory by more is noticed.
"""

from __future__ import annotations

import numpy as np
import torch

from ..bias import MASKED
from ..config import ModelConfig
from ..folder import ExportError
from ..rollout import guidance
from ..train.data import Normalisation
from .graphs import Graph
from .precision import Precision

FILE = "self_test.safetensors"
SAMPLES = 64
SLOTS = 8
ROWS = 16
FLOW_TIMES = (0.75, 0.5)


def fnv1a32(name: str) -> int:
    x = 0x811C9DC5
    for byte in name.encode():
        x = (x ^ byte) * 0x01000193 % 2**32
    return x


def uniform(name: str, count: int) -> np.ndarray:
    """u(name, 0 .. count) as f32."""
    x = np.uint32(fnv1a32(name)) + np.arange(count, dtype=np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def value(name: str, shape: list[int], video_rows: int, vocabulary: int = 0) -> torch.Tensor:
    """The input `name` in f32, before rounding. `vocabulary`: of a graph that reads `ids`."""
    if name == "ids":
        return torch.from_numpy(
            np.floor((uniform(name, shape[0]).astype(np.float64) + 1) / 2 * vocabulary).astype(
                np.float32
            )
        )
    if name == "is_image":
        return (torch.arange(shape[0]) % 4 == 1).float()
    if name == "pad_bias":
        return (4 * torch.arange(shape[0]) >= 3 * shape[0]).float() * MASKED
    if name == "is_action":
        return (torch.arange(shape[0]) >= video_rows).float()
    if name == "flow_time":
        return torch.tensor(FLOW_TIMES)
    if name == "rope":
        angles = np.pi * uniform(name, shape[0] * shape[1]).astype(np.float64).reshape(shape[:2])
        return torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32))
    if name in ("mem_bias", "text_bias"):
        return torch.zeros(shape)
    if name == "self_scale":
        return torch.ones(shape)
    return torch.from_numpy(uniform(name, int(np.prod(shape))).reshape(shape))


def inputs(
    graph: Graph,
    config: ModelConfig | None,
    precision: Precision,
    vocabulary: int = 0,
    texts: dict[str, torch.Tensor] | None = None,
) -> dict[str, dict[str, torch.Tensor]]:
    """By shape, the inputs of `graph` in f32, rounded to the types of a folder of `precision`.
    `config`: of a policy's graph; `vocabulary`: as in `value`; `texts`: text rows [R, Dt] of each
    route command."""
    bad = [name for name, example in graph.inputs.items() if not example.is_floating_point()]
    if bad:
        raise ExportError(
            f"{graph.name}: the self-test has no rule for integers, got {', '.join(bad)}"
        )
    if graph.name == "vlm_decoder":
        passes = {"one": (1, 0), "rows": (ROWS, 0)}
    elif graph.dynamic:
        passes = {
            "video": (config.nv, 0),
            "action": (0, config.na),
            "packed": (config.nv, config.na),
        }
    else:
        passes = {"only": (0, 0)}
    out = {}
    for case, (video, action) in passes.items():
        dims, out[case] = {"N": video + action, "S": SLOTS}, {}
        for name, example in graph.inputs.items():
            axes = graph.dynamic.get(name, {})
            shape = [
                dims[axes[i]] if i in axes else length for i, length in enumerate(example.shape)
            ]
            out[case][name] = (
                value(name, shape, video, vocabulary).to(precision.io(name).torch).float()
            )
    if graph.name == "context_text":
        kind = precision.io("text").torch
        for command, rows in (texts or {}).items():
            out[command] = {"text": guidance(config, rows)[0].to(kind).float()}
    return out


def decoded(config: ModelConfig, normalisation: dict) -> torch.Tensor:
    """The trajectory [poses, 3] of the rule's actions, under `normalisation` of a manifest."""
    actions = uniform("actions", 3 * config.poses).astype(np.float64).reshape(-1, 3)
    moved = Normalisation.from_dict(normalisation["action"]).undo(actions)
    return torch.from_numpy(np.cumsum(moved, 0).astype(np.float32))


def answer(graph: str, case: str, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that the file holds for one graph in one shape."""
    kept = {}
    for name, whole in outputs.items():
        flat = whole.flatten()
        count = min(SAMPLES, len(flat))
        kept[f"{graph}/{case}/{name}"] = flat[torch.arange(count) * len(flat) // count].clone()
        kept[f"{graph}/{case}/{name}/norm"] = flat.double().square().sum().sqrt().float()[None]
    return kept


def difference(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest absolute difference over the root mean square of `wanted`."""
    rms = wanted.double().square().mean().sqrt().item()
    return (got.double() - wanted.double()).abs().max().item() / max(rms, 1e-12)
