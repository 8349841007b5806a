"""The usual ONNX export of Qwen3-VL: transformers' own forward, with past and present tensors.

Four parts, as in other exports of the class: the vision tower, the embedding table, a model for the
prompt and a model for the tokens after it. The last two take embeddings, an attention mask and
positions, and return logits of every row and whole keys and values, old and new; the second takes
the presents of the previous call as its pasts. Each part is as fast as it can be here: one call for
both images; the prompt's model has no past and the other no deepstack; attention is `sdpa`, which
copies no key heads for a single row.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from transformers import DynamicCache

from .generate import expand, positions

OPSET = 18


class Tower(nn.Module):
    """The vision tower for images of the grids `grid` [images, 3]: patches to embeddings and
    deepstack rows."""

    def __init__(self, model: nn.Module, grid: torch.Tensor):
        super().__init__()
        self.model, self.grid = model, grid

    def forward(self, patches):
        out = self.model.model.visual(patches, grid_thw=self.grid)
        return (out.pooler_output, *out.deepstack_features)


class Language(nn.Module):
    """The language model and its head. `levels`: the number of deepstack tensors [1, N, D] before
    the pasts [1, Hkv, S, Dh], which are keys and values of each layer in turn."""

    def __init__(self, model: nn.Module, levels: int):
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, embeds, mask, position_ids, *rest):
        deepstack, past = list(rest[: self.levels]), rest[self.levels :]
        cache = DynamicCache(list(zip(past[::2], past[1::2])))
        out = self.model.model.language_model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=position_ids,
            cache=cache,
            use_cache=True,
            deepstack_visual_embeds=deepstack or None,
        )
        return (
            self.model.lm_head(out.last_hidden_state),
            *(rows for layer in cache.layers for rows in (layer.keys, layer.values)),
        )


def add(hidden, mask, rows):
    """Replaces the class's `_deepstack_process`, whose mask indexing the exporter writes wrongly.
    `rows` has a row for every token, zero where no image is."""
    return hidden + rows


class PastPresent:
    """Greedy answers to prompts with `pictures` images of `size` pixels."""

    def __init__(
        self, model: nn.Module, folder: Path, size: tuple[int, int], pictures: int, threads: int
    ):
        text, vision = model.config.text_config, model.config.vision_config
        self.token, self.table = (
            model.config.image_token_id,
            model.model.language_model.embed_tokens.weight.detach().numpy(),
        )
        height, width = (length // vision.patch_size for length in size)
        self.grids, self.graphs = (
            [(height // vision.spatial_merge_size, width // vision.spatial_merge_size)] * pictures,
            {},
        )
        folder.mkdir(parents=True, exist_ok=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL

        def export(name: str, module: nn.Module, inputs: dict, outputs: list[str], dynamic: dict):
            path = folder / f"{name}.onnx"
            with (
                warnings.catch_warnings(),
                torch.no_grad(),
                patch.object(model.model.language_model, "_deepstack_process", add),
            ):
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    module.eval(),
                    tuple(inputs.values()),
                    str(path),
                    dynamo=False,
                    opset_version=OPSET,
                    input_names=list(inputs),
                    output_names=outputs,
                    dynamic_axes=dynamic,
                )
            graph = onnx.load(path).graph
            nodes = sum(node.op_type != "Constant" for node in graph.node)
            self.graphs[name] = {
                "opset": OPSET,
                "nodes": nodes,
                "weights_million": sum(float(np.prod(t.dims)) for t in graph.initializer) / 1e6,
            }
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )

        def inputs(rows: int, before: int) -> dict:
            ones = torch.ones(1, before + rows, dtype=torch.long)
            return {
                "inputs_embeds": torch.randn(1, rows, text.hidden_size),
                "attention_mask": ones,
                "position_ids": torch.arange(rows).expand(3, 1, -1),
            }

        levels, layers, rows = (
            len(vision.deepstack_visual_indexes),
            range(text.num_hidden_layers),
            6,
        )
        deepstack = [f"deepstack.{level}" for level in range(levels)]
        self.pasts, presents = (
            [f"{word}.{layer}.{kind}" for layer in layers for kind in ("key", "value")]
            for word in ("past_key_values", "present")
        )
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        patches = torch.randn(pictures * height * width, values)
        self.vision = export(
            "vision",
            Tower(model, torch.tensor([[1, height, width]] * pictures)),
            {"pixel_values": patches},
            ["image", *deepstack],
            {},
        )
        last = {name: {2: "total"} for name in presents} | {"attention_mask": {1: "total"}}
        prompt = inputs(rows, 0) | {
            name: torch.randn(1, rows, text.hidden_size) for name in deepstack
        }
        dynamic = (
            last
            | {name: {1: "rows"} for name in ("inputs_embeds", "logits", *deepstack)}
            | {"position_ids": {2: "rows"}}
        )
        self.prompt = export(
            "prompt", Language(model, levels), prompt, ["logits", *presents], dynamic
        )
        follow = inputs(1, rows) | {
            name: torch.randn(1, text.num_key_value_heads, rows, text.head_dim)
            for name in self.pasts
        }
        self.follow = export(
            "follow",
            Language(model, 0),
            follow,
            ["logits", *presents],
            last | {name: {2: "past"} for name in self.pasts},
        )

    def generate(self, ids: list[int], pixel_values: np.ndarray, max_new_tokens: int) -> list[int]:
        """`ids`: with one placeholder per image; `pixel_values`: patches of all images. Arrays are
        passed without a copy."""
        tokens = np.array(expand(ids, self.token, [rows * columns for rows, columns in self.grids]))
        position_ids, position = positions(ids, self.token, self.grids)
        picture = tokens == self.token
        image, *deepstack = self.vision.run(None, {"pixel_values": pixel_values})
        embeds = self.table[tokens][None]
        embeds[0, picture] = image
        feed = {
            "inputs_embeds": embeds,
            "attention_mask": np.ones((1, len(tokens)), np.int64),
            "position_ids": position_ids.T[:, None],
        }
        for level, rows in enumerate(deepstack):
            feed[f"deepstack.{level}"] = np.zeros_like(embeds)
            feed[f"deepstack.{level}"][0, picture] = rows
        logits, *kept = self.prompt.run(None, feed)
        tokens_out = [int(logits[0, -1].argmax())]
        while len(tokens_out) < max_new_tokens:
            feed = dict(zip(self.pasts, kept))
            feed["inputs_embeds"], feed["position_ids"] = (
                self.table[tokens_out[-1]][None, None],
                np.full((3, 1, 1), position),
            )
            feed["attention_mask"] = np.ones((1, len(tokens) + len(tokens_out)), np.int64)
            logits, *kept = self.follow.run(None, feed)
            tokens_out.append(int(logits[0, -1].argmax()))
            position += 1
        return tokens_out
