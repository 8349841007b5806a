"""Checks an exported graph in ONNX Runtime against PyTorch, piece by piece.

So memory holds no more than the weights of one piece.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import numpy as np
import onnx
import onnxruntime
import torch

from ..folder import ExportError
from ..progress import Progress
from . import self_test
from .graphs import Graph
from .precision import BF16, F16, F32, Precision, emulate_bf16

# Stored size of the weights in a piece; a graph with fewer runs whole. ONNX Runtime holds up to
# three times as much of a piece in half precision.
PIECE_BYTES = 1 << 26


def keep_casts(model: onnx.ModelProto) -> onnx.ModelProto:
    """An f16 model whose Casts take effect. On a CPU ONNX Runtime multiplies in f32 and drops a
    Cast to f16 that meets its own Cast back to f32, at any optimization level, so values would be
    neither rounded nor overflow. An Identity keeps the two Casts apart."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    nodes, identity = (
        [],
        lambda source, to: nodes.append(
            onnx.helper.make_node("Identity", [source], [to], name=f"{to}/identity")
        ),
    )
    for node in out.graph.node:
        to = node.attribute[0].i if node.op_type == "Cast" else None
        if to == onnx.TensorProto.FLOAT:
            identity(node.input[0], f"{node.output[0]}/kept")
            node.input[0] = f"{node.output[0]}/kept"
        nodes.append(node)
        if to == onnx.TensorProto.FLOAT16:
            name, node.output[0] = node.output[0], f"{node.output[0]}/kept"
            identity(node.output[0], name)
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out


def session(
    model: onnx.ModelProto, folder: Path, precision: Precision
) -> onnxruntime.InferenceSession:
    """Opens `model`, whose weights are in `folder`, on one thread and without an arena, which would
    live as long as any of its outputs. In half precision ONNX Runtime converts weights while it
    runs. It cannot multiply bf16 on a CPU, so bf16 is emulated, with f32 inputs and outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    if precision is not F32:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = (
        emulate_bf16(model)
        if precision is BF16
        else keep_casts(model)
        if precision is F16
        else model
    )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def stored_bytes(tensor: onnx.TensorProto) -> int:
    return next(
        (int(entry.value) for entry in tensor.external_data if entry.key == "length"),
        len(tensor.raw_data),
    )


def node_runs(model: onnx.ModelProto, limit: int) -> Iterator[list[onnx.NodeProto]]:
    """The nodes in order, in runs whose weights have at most `limit` bytes; a single node may have
    more."""
    sizes = {tensor.name: stored_bytes(tensor) for tensor in model.graph.initializer}
    run, read = [], set()
    for node in model.graph.node:
        own = {name for name in node.input if name in sizes}
        if run and own - read and sum(sizes[name] for name in read | own) > limit:
            yield run
            run, read = [], set()
        run.append(node)
        read |= own
    yield run


def pieces(model: onnx.ModelProto, limit: int = PIECE_BYTES) -> list[onnx.ModelProto]:
    """Splits `model` into models to run one after the other: a later one reads the outputs of
    earlier ones by name."""
    runs, graph = list(node_runs(model, limit)), model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {
        v.name: v.type.tensor_type.elem_type
        for v in [*inferred.input, *inferred.output, *inferred.value_info]
    }
    weights = {tensor.name: tensor for tensor in graph.initializer}
    io = {v.name: v for v in [*graph.input, *graph.output]}
    value = lambda name: (
        io[name] if name in io else onnx.helper.make_tensor_value_info(name, kinds[name], None)
    )
    out, later = [], {v.name for v in graph.output}
    for run in reversed(runs):
        made = dict.fromkeys(name for node in run for name in node.output)
        read = dict.fromkeys(name for node in run for name in node.input if name)
        ins = [name for name in read if name not in made and name not in weights]
        part = onnx.helper.make_graph(
            run,
            graph.name,
            [value(name) for name in ins],
            [value(name) for name in made if name in later],
            [weights[name] for name in read if name in weights],
        )
        out.insert(
            0,
            onnx.helper.make_model(
                part, opset_imports=model.opset_import, ir_version=model.ir_version
            ),
        )
        later |= set(ins)
    return out


def run_piece(
    part: onnx.ModelProto,
    folder: Path,
    precision: Precision,
    known: dict[str, dict[str, np.ndarray]],
) -> None:
    """Runs `part` in each case and adds its outputs to `known`. Its weights are freed on return."""
    runtime = session(part, folder, precision)
    kinds = {
        value.name: np.float16 if value.type == "tensor(float16)" else None
        for value in runtime.get_inputs()
    }
    names = [value.name for value in runtime.get_outputs()]
    for values in known.values():
        feeds = {
            name: values[name].astype(kind or values[name].dtype, copy=False)
            for name, kind in kinds.items()
        }
        values |= dict(zip(names, runtime.run(names, feeds)))


def run(
    graph: Graph, path: Path, precision: Precision, cases: dict[str, dict[str, torch.Tensor]]
) -> dict[str, dict[str, np.ndarray]]:
    """The graph's outputs by case. Every piece is loaded once."""
    parts = pieces(onnx.load(path, load_external_data=False))
    known = {
        case: {name: value.numpy() for name, value in inputs.items()}
        for case, inputs in cases.items()
    }
    wanted, progress = (
        [{v.name for v in part.graph.input} for part in parts],
        Progress(f"{graph.name}: running ONNX Runtime,", "piece", len(parts)),
    )
    for i, part in enumerate(parts):
        run_piece(part, path.parent, precision, known)
        kept = set(graph.outputs).union(*wanted[i + 1 :])
        known = {
            case: {name: value for name, value in values.items() if name in kept}
            for case, values in known.items()
        }
        progress.step()
    return known


def verify(
    graph: Graph, path: Path, precision: Precision, inputs: dict, wanted: dict, slack: float = 1.0
) -> float:
    """Returns the largest difference of ONNX Runtime to PyTorch over the shapes of the self-test
    (self_test.difference). `slack` multiplies the limit. Raises ExportError beyond it."""
    onnx.checker.check_model(str(path), full_check=True)
    got, worst, where = run(graph, path, precision, inputs), 0.0, ""
    for case in inputs:
        for name in graph.outputs:
            differs = self_test.difference(torch.from_numpy(got[case][name]), wanted[case][name])
            if differs != differs or differs > worst:  # a NaN stays the worst
                worst, where = differs, f"{case}/{name}"
    limit = precision.limit * slack
    if not worst <= limit:
        raise ExportError(
            f"{graph.name}: {where}: ONNX Runtime differs from PyTorch by {worst:.1e} of the root mean square (wanted at most {limit:.0e})"
        )
    return worst
