"""Exports in half precision: the types of operations and weights, and two evaluators that agree
with the f32 reference.
"""

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file

from conftest import ROOT
from drivewam_export.config import from_dict, load
from drivewam_export.folder import open_checkpoint
from drivewam_export.model import DriveWam
from drivewam_export.onnx_graphs import self_test, weights
from drivewam_export.onnx_graphs.export import ExportError, export
from drivewam_export.onnx_graphs.graphs import belongs, policy_graphs
from drivewam_export.onnx_graphs.precision import (
    F16,
    F32,
    ISLANDS,
    MOVES,
    PRECISIONS,
    PRODUCTS,
    lower,
)
from drivewam_export.onnx_graphs.trace import reference, trace
from drivewam_export.streamed import in_memory

LAYERS = 2
TRAINED = ROOT / "engines/tiny"
NUMPY = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@pytest.fixture(scope="module", params=["f16", "bf16"])
def half(request, tmp_path_factory):
    """The precision, and a folder of two layers in it."""
    out = tmp_path_factory.mktemp("engines") / request.param
    export(
        load(ROOT / "configs/model/tiny.yaml"),
        "random:1",
        out,
        precision=PRECISIONS[request.param],
        layers=LAYERS,
    )
    return PRECISIONS[request.param], out


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same in f32."""
    out = tmp_path_factory.mktemp("engines") / "f32"
    export(load(ROOT / "configs/model/tiny.yaml"), "random:1", out, layers=LAYERS)
    return out


def nodes(path):
    """Every node with the float types of its inputs and outputs."""
    model = onnx.shape_inference.infer_shapes(
        onnx.load(path, load_external_data=False), check_type=True, strict_mode=True
    )
    graph = model.graph
    types = {
        v.name: v.type.tensor_type.elem_type
        for v in [*graph.input, *graph.output, *graph.value_info]
    } | {t.name: t.data_type for t in graph.initializer}
    of = lambda names: [types[name] for name in names if name and types[name] in FLOATS]
    return [(node, of(node.input), of(node.output)) for node in graph.node]


def test_products_are_half_and_everything_else_is_f32(half):
    """Breaks when a norm, a softmax, a modulation or an activation is computed in half; a product
    other than the flow time's is left in f32; an operation has floats of two types, which a
    strongly typed network refuses; a constant is half, or anything is f64."""
    precision, folder = half
    seen = {}
    for name, entry in yaml.safe_load((folder / "manifest.yaml").read_text())["graphs"].items():
        kind = PRECISIONS[entry["precision"]]
        for node, ins, outs in nodes(folder / entry["file"]):
            where = f"{name}: {node.op_type} {node.name}"
            assert TensorProto.DOUBLE not in ins + outs and len(set(ins)) <= 1, where
            if node.op_type in ("Cast", "Shape") or not ins + outs:
                continue
            assert len(set(ins + outs)) == 1, where
            if node.op_type in PRODUCTS:
                wanted = TensorProto.FLOAT if "time_embedder" in " ".join(node.input) else kind.onnx
                assert ins[0] == wanted, where
            elif ins[:1] == [kind.onnx] and kind is not F32:
                of_bias = node.op_type == "Add" and any(i.endswith("bias") for i in node.input)
                assert node.op_type in MOVES or of_bias, where
            seen.setdefault(node.op_type, set()).add((ins or outs)[0])
    for island in (
        "Softmax",
        "LayerNormalization",
        "ReduceMean",
        "Sqrt",
        "Tanh",
        "Sigmoid",
        "Cos",
        "Sub",
        "Div",
        "Mul",
        "Constant",
    ):
        assert seen[island] == {TensorProto.FLOAT}, island
    assert seen["MatMul"] == {precision.onnx} and seen["Gemm"] == {
        precision.onnx,
        TensorProto.FLOAT,
    }
    # ONNX has no Conv in bf16 before operator set 22.
    assert seen["Conv"] == {TensorProto.FLOAT16 if precision.name == "f16" else TensorProto.FLOAT}


def test_names_and_shapes_are_those_of_f32_and_only_cache_is_half(half, plain):
    precision, folder = half
    got, f32 = (yaml.safe_load((f / "manifest.yaml").read_text()) for f in (folder, plain))
    assert (
        got["target"] == f"portable-{precision.name}"
        and got["model"]["layers"] == LAYERS
        and got["schema"] == 2
    )
    halves = set()
    for name, entry in got["graphs"].items():
        kind = PRECISIONS[
            "f32" if precision.name == "bf16" and name.startswith("vae_") else precision.name
        ]
        assert (entry["precision"], entry["tolerance"]) == (kind.name, kind.tolerance)
        for side in ("inputs", "outputs"):
            assert [t | {"dtype": "f32"} for t in entry[side]] == f32["graphs"][name][side]
            halves |= {t["name"].split(".")[0] for t in entry[side] if t["dtype"] == precision.name}
            assert {t["dtype"] for t in entry[side]} <= {"f32", precision.name}
    assert halves == {"mem_k", "mem_v", "text_k", "text_v", "ego_k", "ego_v", "k", "v", "q"}
    stored, wide = (
        {
            k: v
            for file in ("dit", "context")
            for k, v in load_file(f / f"{file}.safetensors").items()
        }
        for f in (folder, plain)
    )
    assert stored.keys() == wide.keys()
    for name, value in stored.items():
        assert value.dtype == (torch.float32 if ISLANDS.fullmatch(name) else precision.torch), name
        assert torch.equal(value, wide[name].to(value.dtype)), name
    assert sum(v.numel() for k, v in stored.items() if not ISLANDS.fullmatch(k)) > 0.9 * sum(
        v.numel() for v in stored.values()
    )


def test_the_answers_of_the_self_test_are_the_f32_model_s(half):
    """Breaks when an answer comes from rounded weights or from unrounded inputs."""
    precision, folder = half
    cut = from_dict(yaml.safe_load((folder / "manifest.yaml").read_text())["model"])
    model, kept = (
        open_checkpoint("random:1", cut).model,
        load_file(folder / "self_test.safetensors"),
    )
    for graph in policy_graphs(model):
        for case, values in self_test.inputs(graph, cut, precision).items():
            for name, value in self_test.answer(graph.name, case, reference(graph, values)).items():
                assert torch.equal(kept[name], value), name


def test_the_trained_model_stays_within_its_tolerance_in_a_second_evaluator(half, tmp_path, tiny):
    """ONNX's own reference evaluator in NumPy, on the shipped weights. ONNX Runtime was checked at
    export."""
    precision, out = half[0], tmp_path / "trained"
    export(
        tiny, str(TRAINED), out, precision=precision, only=["context_text", "context_ego", "dit"]
    )
    assert {p.name for p in out.iterdir()} == {
        "manifest.yaml",
        "self_test.safetensors",
        "commands.safetensors",
        "context.safetensors",
        "dit.safetensors",
        "context_text.onnx",
        "context_ego.onnx",
        "dit.onnx",
    }
    for graph in policy_graphs(open_checkpoint(str(TRAINED), tiny).model):
        evaluator, worst = ReferenceEvaluator(str(out / f"{graph.name}.onnx")), 0.0
        for values in self_test.inputs(graph, tiny, precision).values():
            feeds = {
                n: v.numpy().astype(
                    NUMPY[precision.name] if precision.io(n) is precision else np.float32
                )
                for n, v in values.items()
            }
            wanted = reference(graph, values)
            for name, got in zip(graph.outputs, evaluator.run(graph.outputs, feeds)):
                assert got.dtype == (
                    NUMPY[precision.name] if precision.io(name) is precision else np.float32
                )
                worst = max(
                    worst,
                    self_test.difference(torch.from_numpy(got.astype(np.float32)), wanted[name]),
                )
        print(f"{graph.name} in {precision.name}: {worst:.1e} of the root mean square")
        assert F32.limit < worst <= precision.tolerance, graph.name


def test_equal_weights_stay_apart(tiny, tmp_path):
    """Breaks when the tracer sees the weights' numbers: zero biases and norms' offsets would become
    one tensor, and the graph would change with every checkpoint."""
    model = DriveWam(tiny).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.zero_()
    graph = policy_graphs(model)[-1]
    path = tmp_path / "dit.onnx"
    traced = trace(graph, path)
    assert {
        t.name.removeprefix(graph.prefix) for t in traced.graph.initializer if not t.raw_data
    } == {n for n in model.state_dict() if belongs(n, "dit.safetensors")}
    lower(traced, F16, graph.prefix)
    path.write_bytes(traced.SerializeToString())
    assert not [node.name for node, ins, _ in nodes(path) if len(set(ins)) > 1]


def test_a_weight_beyond_f16_is_refused_by_name(tmp_path):
    fine = weights.write(
        tmp_path / "x",
        in_memory({"a.weight": torch.tensor([6e4]), "b.norm1.weight": torch.tensor([7e4])}),
        F16.stored,
    )
    assert {name: length for name, (_, length) in fine.items()} == {
        "a.weight": 2,
        "b.norm1.weight": 4,
    }
    assert all(offset % 4 == 0 for offset, _ in fine.values()), (
        "the f32 tensor stands behind the half one"
    )
    with pytest.raises(ExportError, match=r"a\.weight.*7\.0e\+04.*F16"):
        weights.write(tmp_path / "x", in_memory({"a.weight": torch.tensor([7e4])}), F16.stored)


def test_a_half_folder_is_a_checkpoint_too(half, tmp_path):
    """The weights are read in f32 with the rounded values."""
    precision, folder = half
    model = open_checkpoint(str(folder), None).model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    stored = load_file(folder / "dit.safetensors")
    assert torch.equal(
        model.state_dict()["blocks.1.attn1.to_q.weight"],
        stored["blocks.1.attn1.to_q.weight"].float(),
    )
