"""Writes the safetensors files that ONNX files point into.

Each weight exists once, under its state-dict name.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Callable

import onnx
import torch

from ..folder import ExportError
from ..progress import Progress
from ..streamed import Weights

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
INLINE_LIMIT = 16 * 1024


def write(
    path: Path, weights: Weights, stored: Callable[[str], torch.dtype] = lambda name: torch.float32
) -> dict[str, tuple[int, int]]:
    """Writes `weights`, read one at a time, as `stored(name)`: wide types first, so that all are
    aligned, then in order of name. Returns name -> (offset in the file, length in bytes).

    Raises ExportError for a number that exceeds the stored type.
    """
    header, at = {}, 0
    types = {name: stored(name) for name in weights.shapes}
    order = sorted(types, key=lambda name: (-types[name].itemsize, name))
    for name in order:
        shape = weights.shapes[name]
        size = math.prod(shape) * types[name].itemsize
        header[name] = {
            "dtype": DTYPES[types[name]],
            "shape": list(shape),
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    places, progress = {}, Progress(f"{path.name}: writing", "tensor", len(order), at)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            start, value = file.tell(), weights.read(name)
            if (
                types[name] != value.dtype
                and not torch.stack(value.aminmax()).to(types[name]).isfinite().all()
            ):
                raise ExportError(
                    f"{name}: values up to {value.abs().max().item():.1e} exceed the range of {DTYPES[types[name]]}"
                )
            file.write(value.to(types[name]).contiguous().flatten().view(torch.uint8).numpy().data)
            places[name] = (start, file.tell() - start)
            progress.step(places[name][1])
    return places


def point_into(
    model: onnx.ModelProto, location: str, places: dict[str, tuple[int, int]], prefix: str
) -> None:
    """Makes every initializer named `prefix + state-dict name` external data of `location`.

    Raises ValueError for an initializer that is not a weight of the file and has no data, or so
    much that it would be a copy of a weight.
    """
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix(prefix)
        if name in places:
            offset, length = places[name]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            del tensor.external_data[:]
            for key, value in (
                ("location", location),
                ("offset", str(offset)),
                ("length", str(length)),
            ):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
        elif not tensor.raw_data or len(tensor.raw_data) > INLINE_LIMIT:
            raise ValueError(
                f"initializer {tensor.name!r} ({len(tensor.raw_data)} bytes) is not a weight of {location}"
            )
    inline = (a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))
    for tensor in inline:
        # Zeros are no copy: they are the empty cache of a first frame.
        if len(tensor.raw_data) > INLINE_LIMIT and any(tensor.raw_data):
            raise ValueError(
                f"an inline constant of {len(tensor.raw_data)} bytes would be a copy of a weight"
            )
