"""The reference loop over the exported graphs: prompt, positions, KV memory, greedy decoding.

The runtime has the same loop. It needs only ONNX Runtime and numpy, not `transformers`: it uses the
exported contract alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import onnxruntime
import yaml

from ..bias import MASKED


def expand(ids: list[int], image_token: int, counts: list[int]) -> list[int]:
    """`ids` with the i-th image placeholder repeated `counts[i]` times, once per row of that
    image's embedding."""
    if ids.count(image_token) != len(counts):
        raise ValueError(
            f"{ids.count(image_token)} image placeholders in the prompt, wanted {len(counts)}, one per image"
        )
    rest, out = iter(counts), []
    for token in ids:
        out += [token] * (next(rest) if token == image_token else 1)
    return out


def positions(
    ids: list[int], image_token: int, grids: list[tuple[int, int]]
) -> tuple[np.ndarray, int]:
    """Positions (time, height, width) of every row, [n, 3], and the position of the next row.
    `ids`: the prompt before expansion; `grids`: rows and columns of each image's embedding, after
    the merge.

    A text token advances all three axes. An image stays at one time; its rows count height and
    width from its first position, and the next token follows its longer side. So positions lag
    behind the row count, and decoding continues from the returned position, not from the row count.
    """
    at, rest, out = 0, iter(grids), []
    for token in ids:
        if token != image_token:
            out.append(np.full((1, 3), at))
            at += 1
            continue
        rows, columns = next(rest)
        h, w = np.mgrid[:rows, :columns].reshape(2, -1)
        out.append(np.stack([np.zeros_like(h), h, w], -1) + at)
        at += max(rows, columns)
    return np.concatenate(out), at


def rope_table(position_ids: np.ndarray, rope: dict) -> np.ndarray:
    """Positions [n, 3] to (cos, sin) [n, Dh/2, 2] f32. The axes are interleaved: pair j rotates
    with height where j % 3 = 1 and with width where j % 3 = 2, both up to three times their
    section, otherwise with time.

    Angles are products in f32, as in the trained model; only cosine and sine are computed in f64.
    """
    pair = np.arange(len(rope["inverse_frequencies"]))
    limits = 3 * np.array([0, *rope["sections"][1:]])
    axis = np.where(pair < limits[pair % 3], pair % 3, 0)
    angles = (
        position_ids[:, axis].astype(np.float32) * np.array(rope["inverse_frequencies"], np.float32)
    ).astype(np.float64)
    return (np.stack([np.cos(angles), np.sin(angles)], -1) * rope["scale"]).astype(np.float32)


def patch_rows(pixels: np.ndarray, patch: int, temporal: int, merge: int) -> np.ndarray:
    """One normalised image [C, H, W] to `patches` [P, C*tp*ps*ps]: merge blocks in raster order,
    patches of a block in raster order, the image repeated over the temporal patch."""
    channels, height, width = pixels.shape
    blocks = pixels.reshape(
        channels, height // (patch * merge), merge, patch, width // (patch * merge), merge, patch
    )
    # To (block row, block column, row, column, channel, y, x).
    blocks = blocks.transpose(1, 4, 2, 5, 0, 3, 6)
    blocks = np.repeat(blocks[..., None, :, :], temporal, axis=-3)
    return np.ascontiguousarray(blocks.reshape(height * width // patch**2, -1), np.float32)


class Memory:
    """Keys and values of `slots` slots per layer [Hkv, S, Dh] in `kind`. `order`: the order in
    which slots are filled, by default ascending; answers do not depend on it."""

    def __init__(
        self, facts: dict, slots: int, order: np.ndarray | None = None, kind: type = np.float32
    ):
        shape = (facts["kv_heads"], slots, facts["head_dim"])
        self.pools = [
            (np.zeros(shape, kind), np.zeros(shape, kind)) for _ in range(facts["layers"])
        ]
        self.bias = np.full(slots, MASKED, np.float32)
        self.order, self.used = np.arange(slots) if order is None else order, 0

    def inputs(self) -> dict[str, np.ndarray]:
        named = {
            f"mem_{stem}.{layer}": pool
            for layer, pair in enumerate(self.pools)
            for stem, pool in zip("kv", pair)
        }
        return named | {"mem_bias": self.bias}

    def append_kv(self, new: list[np.ndarray]) -> None:
        """Stores `new`: k and v of each layer in turn, [Hkv, N, Dh]. Raises ValueError when no
        slots are left."""
        count = new[0].shape[1]
        if self.used + count > len(self.bias):
            raise ValueError(
                f"memory of {len(self.bias)} slots holds {self.used} rows, {count} more do not fit"
            )
        slots = self.order[self.used : self.used + count]
        for layer, (k, v) in enumerate(self.pools):
            k[:, slots], v[:, slots] = new[2 * layer], new[2 * layer + 1]
        self.bias[slots] = 0
        self.used += count


@dataclass
class Answer:
    """Decoded tokens, including the end token if one was decoded, and the logits [V] of each."""

    tokens: list[int] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)


def open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class VlmGuidance:
    """The graphs of a folder of `guidance.export`, opened by `open_graph`."""

    def __init__(
        self,
        folder: Path,
        open_graph: Callable[[Path], onnxruntime.InferenceSession] = open_session,
    ):
        record = yaml.safe_load((folder / "guidance.yaml").read_text())
        self.facts, self.graphs, self.images = record["vlm"], record["graphs"], record["images"]
        self.sessions = {
            name: open_graph(folder / graph["file"]) for name, graph in self.graphs.items()
        }
        cache_type = next(
            value.type
            for value in self.sessions["vlm_decoder"].get_inputs()
            if value.name == "mem_k.0"
        )
        self.cache_dtype = {"tensor(float16)": np.float16}.get(cache_type, np.float32)

    def run(self, graph: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Runs a graph. Returns its outputs in the order of `guidance.yaml`."""
        return self.sessions[graph].run(
            [output["name"] for output in self.graphs[graph]["outputs"]], inputs
        )

    def encode_image(
        self, patches: np.ndarray, height: int, width: int
    ) -> tuple[list[np.ndarray], tuple[int, int]]:
        """`patches` of an image of `height` x `width` pixels to its embedding and deepstack rows,
        each [P/merge^2, D], and their grid."""
        known = {tuple(size): name for name, size in self.images.items()}
        if (height, width) not in known:
            raise ValueError(f"image of {height} x {width} pixels: wanted one of {sorted(known)}")
        step = self.facts["image"]["patch"] * self.facts["image"]["merge"]
        return self.run(known[height, width], {"patches": patches}), (height // step, width // step)

    def prefill_inputs(
        self, ids: list[int], images: list[tuple[np.ndarray, int, int]]
    ) -> tuple[dict[str, np.ndarray], int]:
        """The decoder's inputs for a whole prompt, all [n, ...], and the next position. `ids`: with
        one placeholder per image; `images`: patches, height and width in pixels."""
        token = self.facts["image_token"]
        seen = [self.encode_image(*image) for image in images]
        tokens = np.array(expand(ids, token, [len(parts[0]) for parts, _ in seen]), np.int64)
        position_ids, next_position = positions(ids, token, [grid for _, grid in seen])
        out = {
            "ids": tokens.astype(np.float32),
            "is_image": (tokens == token).astype(np.float32),
            "rope": rope_table(position_ids, self.facts["rope"]),
        }
        for i, name in enumerate(
            ["image", *(f"deepstack.{level}" for level in range(self.facts["deepstack"]))]
        ):
            out[name] = np.zeros((len(tokens), self.facts["width"]), np.float32)
            if seen:
                out[name][tokens == token] = np.concatenate([parts[i] for parts, _ in seen])
        return out, next_position

    def decode_inputs(self, token: int, position: int) -> dict[str, np.ndarray]:
        """The decoder's inputs for one text row at `position`."""
        nothing = np.zeros((1, self.facts["width"]), np.float32)
        out = {
            "ids": np.array([token], np.float32),
            "is_image": np.zeros(1, np.float32),
            "image": nothing,
        }
        out["rope"] = rope_table(np.full((1, 3), position), self.facts["rope"])
        return out | {f"deepstack.{level}": nothing for level in range(self.facts["deepstack"])}

    def step(self, rows: dict[str, np.ndarray], memory: Memory) -> np.ndarray:
        """Runs one pass and stores its keys and values in `memory`. Returns logits [V] of its last
        row."""
        logits, *new = self.run("vlm_decoder", rows | memory.inputs())
        memory.append_kv(new)
        return logits

    def prefill(
        self, rows: dict[str, np.ndarray], memory: Memory, rows_per_pass: int | None = None
    ) -> np.ndarray:
        """Runs passes of at most `rows_per_pass` rows, by default one pass. Returns logits [V] of
        the last row."""
        count = len(rows["ids"])
        rows_per_pass = rows_per_pass or count
        for start in range(0, count, rows_per_pass):
            logits = self.step(
                {name: value[start : start + rows_per_pass] for name, value in rows.items()}, memory
            )
        return logits

    def generate(
        self,
        ids: list[int],
        images: list[tuple[np.ndarray, int, int]],
        max_new_tokens: int,
        end_tokens: tuple[int, ...] = (),
        memory: Memory | None = None,
        rows_per_pass: int | None = None,
    ) -> Answer:
        """Greedy decoding of at most `max_new_tokens` tokens, or until one of `end_tokens`. Of
        equal logits the lowest token wins."""
        rows, position = self.prefill_inputs(ids, images)
        memory, answer = (
            memory or Memory(self.facts, len(rows["ids"]) + max_new_tokens, kind=self.cache_dtype),
            Answer(),
        )
        logits = self.prefill(rows, memory, rows_per_pass)
        while True:
            answer.tokens.append(int(logits.argmax()))
            answer.logits.append(logits)
            if len(answer.tokens) == max_new_tokens or answer.tokens[-1] in end_tokens:
                return answer
            logits = self.step(self.decode_inputs(answer.tokens[-1], position), memory)
            position += 1
