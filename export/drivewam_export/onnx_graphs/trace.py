"""Traces a graph to ONNX, describes its tensors, and computes its reference outputs."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch

from ..streamed import weightless
from .graphs import Graph
from .precision import Precision

OPSET = 18


def trace(graph: Graph, path: Path) -> onnx.ModelProto:
    """Traces the graph to a model with named inputs, outputs and axes. Its weights are initializers
    without data, whatever the module holds: so no size is too large and equal weights are not
    merged. Buffers that no checkpoint holds are inline."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            weightless(graph.module),
            tuple(graph.inputs.values()),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            do_constant_folding=False,
            input_names=list(graph.inputs),
            output_names=graph.outputs,
            dynamic_axes=graph.dynamic,
            export_params=False,
            keep_initializers_as_inputs=True,
        )
    model, kept, buffers = (
        onnx.load(path),
        graph.module.state_dict(),
        dict(graph.module.named_buffers()),
    )
    for value in [v for v in model.graph.input if v.name not in graph.inputs]:
        kind = value.type.tensor_type
        tensor = onnx.TensorProto(
            name=value.name, data_type=kind.elem_type, dims=[d.dim_value for d in kind.shape.dim]
        )
        if value.name not in kept:
            tensor.raw_data = buffers[value.name].numpy().tobytes()
        model.graph.initializer.append(tensor)
        model.graph.input.remove(value)
    return model


def tensor_entries(values: dict[str, list], graph: Graph, precision: Precision) -> list[dict]:
    """Inputs or outputs for the manifest, from name to shape. Dynamic axes become letters."""
    rows = []
    for name, shape in values.items():
        axes = graph.dynamic.get(name, {})
        rows.append(
            {
                "name": name,
                "dtype": precision.io(name).name,
                "shape": [axes.get(i, n) for i, n in enumerate(shape)],
            }
        )
    return rows


def reference(graph: Graph, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The outputs of the f32 model in PyTorch. For a module on `meta`, enter a
    `streamed.LazyWeights`."""
    with torch.no_grad():
        values = graph.module(*inputs.values())
    return dict(zip(graph.outputs, values if isinstance(values, tuple) else (values,)))
