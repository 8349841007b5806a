"""`vlm_vision`: the vision tower of Qwen3-VL for images of one size.

What depends on the size alone (the learned position grid resampled to the patch grid, the rotary
table) is computed at export and stored in the weight file. These are constants, not inputs: the
patch count is static anyway, and so the runtime needs no position arithmetic for patches and binds
one input. The price is one graph per size, whose engine has weights of its own; so the bird's-eye
plot should have the frame's size.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from ..folder import ExportError
from ..onnx_graphs.graphs import Graph
from .decoder import rotate_halves

FILE = "vlm_vision.safetensors"


def grid(config, height: int, width: int) -> tuple[int, int]:
    """Patch rows and columns of an image of `height` x `width` pixels. `config`: the vision
    tower's. Raises ExportError for a size that is not a multiple of the merged patch."""
    step = config.patch_size * config.spatial_merge_size
    if height < step or width < step or height % step or width % step:
        raise ExportError(f"image of {height} x {width} pixels: wanted multiples of {step}")
    return height // config.patch_size, width // config.patch_size


def position_tables(tower: nn.Module, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Position embedding [P, E], with its gradient if enabled, and (cos, sin) [P, Dh/2, 2] of the
    patch grid, in the processor's order of patches (merge blocks)."""
    size, merge = torch.tensor([[1, rows, columns]]), tower.config.spatial_merge_size
    indices, weights = get_vision_interpolation_indices_and_weights(
        size,
        num_grid_per_side=tower.num_grid_per_side,
        mode=tower.interpolation_mode,
        align_corners=tower.interpolation_align_corners,
        spatial_merge_size=merge,
    )
    device = tower.pos_embed.weight.device
    embedding = (tower.pos_embed(indices.to(device)) * weights.to(device)[:, :, None]).sum(1)
    with torch.no_grad():
        cos, sin = tower.rotary_pos_emb(embedding, get_vision_position_ids(size, merge).to(device))
    half = cos.shape[-1] // 2  # the second half repeats the first
    return embedding, torch.stack([cos[:, :half], sin[:, :half]], -1)


class Vision(nn.Module):
    """`model`: a `Qwen3VLForConditionalGeneration`."""

    def __init__(self, model: nn.Module, height: int, width: int):
        super().__init__()
        self.model = model
        tower = model.model.visual
        with torch.no_grad():
            positions, rope = position_tables(tower, *grid(tower.config, height, width))
        self.register_buffer("positions", positions)
        self.register_buffer("rope", rope)

    def attend(self, attention: nn.Module, rows):
        """Rows [P, E] to [P, E]: all patches of the image attend to each other."""
        width = attention.head_dim
        q, k, v = (
            attention.qkv(rows)
            .reshape(-1, 3, attention.num_heads, width)
            .permute(1, 2, 0, 3)
            .unbind(0)
        )
        q, k = rotate_halves(q, self.rope, width), rotate_halves(k, self.rope, width)
        weights = (q * attention.scaling @ k.transpose(-1, -2)).softmax(-1)
        return attention.proj(
            (weights @ v).transpose(0, 1).reshape(-1, attention.num_heads * width)
        )

    def forward(self, patches):
        """`patches` [P, C*tp*ps*ps] f32, normalised, in the processor's order. Returns `image`
        [P/merge^2, D] and one such tensor per deepstack level."""
        tower, deepstack = self.model.model.visual, []
        # a convolution with stride = kernel: a product over whole patches
        embed = tower.patch_embed.proj
        x = F.linear(patches, embed.weight.flatten(1), embed.bias) + self.positions
        for index, block in enumerate(tower.blocks):
            x = x + self.attend(block.attn, block.norm1(x))
            x = x + block.mlp(block.norm2(x))
            if index in tower.deepstack_visual_indexes:
                deepstack.append(
                    tower.deepstack_merger_list[tower.deepstack_visual_indexes.index(index)](x)
                )
        return (tower.merger(x), *deepstack)


def vision_graph(model: nn.Module, height: int, width: int, name: str = "vlm_vision") -> Graph:
    """The graph for images of `height` x `width` pixels."""
    config = model.config.vision_config
    rows, columns = grid(config, height, width)
    values = config.in_channels * config.temporal_patch_size * config.patch_size**2
    levels = len(config.deepstack_visual_indexes)
    patches = torch.randn(rows * columns, values, generator=torch.Generator().manual_seed(0))
    return Graph(
        name,
        Vision(model, height, width),
        "model.",
        FILE,
        {"patches": patches},
        ["image", *(f"deepstack.{i}" for i in range(levels))],
    )
