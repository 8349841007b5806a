"""Graphs in half precision: products in f16 or bf16, everything else in f32.

The traced f32 graph is rewritten. A product (MatMul, Gemm, Conv, and the Add of its bias) reads and
returns the half type. An operation that only moves numbers keeps their type, and a concatenation
with cache takes the cache's type. All others read f32: norms, modulation, softmax, activations,
rotations, residual sums, the blend of the two modalities. Explicit Casts join them, so that no
operation has floats of two types. No constant is stored in half precision, and no f64 is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx
import torch
from onnx import TensorProto, helper

from ..folder import ExportError

PRODUCTS = ("MatMul", "Gemm", "Conv")
MOVES = (
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
# Inputs and outputs that are cache or context have the half type; all others are f32.
CACHE = re.compile(r"(mem|text|ego)_[kv]\.\d+|[kvq]\.\d+")
# Weights that stay f32: gains and offsets of norms, modulation tables, latent statistics, position
# tables, and the embedder of the flow time, whose products read only two rows.
ISLANDS = re.compile(
    r"(.*\.)?(\w*norm\w*|gamma|scale_shift_table|latent_mean|latent_std|positions|rope|relative_attention_bias|time_embedder)(\..*)?"
)
# The last products of T5's feed-forwards. In trained encoders their inputs and outputs exceed f16,
# so `transformers` keeps them in f32 too.
BEYOND_F16 = re.compile(r".*\.DenseReluDense\.wo\..*")


@dataclass(frozen=True)
class Precision:
    """A float type and its error limits. `tolerance`: of an engine on the self-test; `limit`: of
    ONNX Runtime at export. Both limit the largest difference to the f32 reference over the root
    mean square of the reference (self_test.difference)."""

    name: str
    torch: torch.dtype
    onnx: int
    tolerance: float
    limit: float

    def io(self, name: str) -> "Precision":
        """The precision of the graph input or output `name`."""
        return self if CACHE.fullmatch(name) else F32

    def stored(self, name: str) -> torch.dtype:
        """The type in which the weight `name` of a state dict is stored."""
        beyond = self.torch == torch.float16 and BEYOND_F16.fullmatch(name)
        return torch.float32 if beyond or ISLANDS.fullmatch(name) else self.torch


F32 = Precision("f32", torch.float32, TensorProto.FLOAT, 1e-3, 5e-5)
F16 = Precision("f16", torch.float16, TensorProto.FLOAT16, 2e-2, 2e-2)
BF16 = Precision("bf16", torch.bfloat16, TensorProto.BFLOAT16, 1e-1, 1e-1)
PRECISIONS = {p.name: p for p in (F32, F16, BF16)}


def supported(model: onnx.ModelProto, wanted: Precision) -> Precision:
    """`wanted`, but f32 for a graph with a Conv in bf16: no ONNX operator set up to 20 has one."""
    convolves = any(node.op_type == "Conv" for node in model.graph.node)
    return F32 if wanted is BF16 and convolves else wanted


class Rewriter:
    """Rewrites the nodes in one pass, in order. `types`: the float type of each float tensor so
    far."""

    def __init__(self, model: onnx.ModelProto, half: Precision, prefix: str):
        self.graph, self.half, self.nodes, self.casts = model.graph, half, [], {}
        self.types, self.matrices, self.islands, self.biases = {}, set(), set(), set()
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.floats = {
            v.name
            for v in [*inferred.input, *inferred.output, *inferred.value_info]
            if v.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        for value in self.graph.input:
            if value.name in self.floats:
                value.type.tensor_type.elem_type = self.types[value.name] = half.io(value.name).onnx
        for tensor in self.graph.initializer:
            if tensor.data_type != TensorProto.FLOAT:
                continue
            is_f32 = (
                tensor.raw_data or half.stored(tensor.name.removeprefix(prefix)) == torch.float32
            )
            self.types[tensor.name] = tensor.data_type = TensorProto.FLOAT if is_f32 else half.onnx
            (self.matrices if len(tensor.dims) > 1 else self.biases).add(tensor.name)
            if is_f32:
                self.islands.add(tensor.name)

    def cast_to(self, name: str, wanted: int) -> str:
        """The tensor `name` in the wanted type, through a Cast if its type differs."""
        if self.types[name] == wanted:
            return name
        if name in self.matrices:
            raise ExportError(f"{name}: the weight is used in two precisions")
        if (name, wanted) not in self.casts:
            out = f"{name}/{'f32' if wanted == TensorProto.FLOAT else self.half.name}"
            self.nodes.append(helper.make_node("Cast", [name], [out], name=out, to=wanted))
            self.casts[name, wanted], self.types[out] = out, wanted
        return self.casts[name, wanted]

    def type_of(self, node: onnx.NodeProto, floats: list[str]) -> int:
        """The type that the node's floats shall have."""
        halves = [self.types[name] == self.half.onnx for name in floats]
        if node.op_type in PRODUCTS:
            of_island = any(name in self.islands and name in self.matrices for name in floats)
            return TensorProto.FLOAT if of_island else self.half.onnx
        if node.op_type == "Concat" and any(CACHE.fullmatch(name) for name in floats):
            return self.half.onnx
        of_bias = node.op_type == "Add" and any(name in self.biases for name in floats)
        return (
            self.half.onnx
            if (of_bias or node.op_type in MOVES) and all(halves)
            else TensorProto.FLOAT
        )

    def visit(self, node: onnx.NodeProto) -> None:
        if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
            raise ExportError(
                f"{node.name}: cannot rewrite a {node.op_type} with a subgraph in half precision"
            )
        if node.op_type == "Constant" and node.attribute[0].t.data_type == TensorProto.DOUBLE:
            value = onnx.numpy_helper.to_array(node.attribute[0].t).astype("float32")
            node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(value))
            self.floats.add(node.output[0])
        floats = [name for name in node.input if name in self.types]
        if node.op_type != "Shape" and floats:
            wanted = self.type_of(node, floats)
            for i, name in enumerate(node.input):
                if name in self.types:
                    node.input[i] = self.cast_to(name, wanted)
        else:
            wanted = TensorProto.FLOAT
        for name in node.output:
            if name in self.floats:
                self.types[name] = wanted
        # Gathered table rows are not weights: they may be cast.
        if node.op_type in MOVES and node.op_type != "Gather" and len(floats) == 1:
            for known in (self.matrices, self.islands):
                if floats[0] in known:
                    known.add(node.output[0])
        self.nodes.append(node)

    def set_output_type(self, value: onnx.ValueInfoProto) -> None:
        """Gives a graph output its final type. The tensor that had its name is renamed."""
        name, wanted = value.name, self.half.io(value.name).onnx
        value.type.tensor_type.elem_type = wanted
        if self.types[name] == wanted:
            return
        cast, inner = self.cast_to(name, wanted), f"{name}/inner"
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, old in enumerate(names):
                    names[i] = {name: inner, cast: name}.get(old, old)

    def run(self) -> None:
        for node in self.graph.node:
            self.visit(node)
        for value in self.graph.output:
            self.set_output_type(value)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        del self.graph.value_info[:]


def lower(model: onnx.ModelProto, half: Precision, prefix: str) -> None:
    """Rewrites the traced f32 `model` in place; `half.stored` gives the types of its weights. With
    F32 it only removes f64 constants. `prefix`: of the weights' names in the graph.

    Raises ExportError for a matrix that is used in two precisions and for nodes with subgraphs.
    """
    Rewriter(model, half, prefix).run()


def emulate_bf16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A bf16 model for a runtime without bf16 products: multiplies the same numbers in f32 and
    rounds the result. Its inputs and outputs are f32."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    halves = {
        v.name
        for v in onnx.shape_inference.infer_shapes(model).graph.value_info
        if v.type.tensor_type.elem_type == TensorProto.BFLOAT16
    }
    halves |= {t.name for t in model.graph.initializer if t.data_type == TensorProto.BFLOAT16}
    nodes, cast = (
        [],
        lambda source, to, kind: nodes.append(helper.make_node("Cast", [source], [to], to=kind)),
    )
    for value in out.graph.input:
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            cast(value.name, value.name + "/io", TensorProto.BFLOAT16)
            halves.add(value.name)
    inputs = {v.name for v in out.graph.input}
    leaving = {
        v.name for v in out.graph.output if v.type.tensor_type.elem_type == TensorProto.BFLOAT16
    }
    halves |= leaving
    for node in out.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = f"{name}/io" if name in halves and name in inputs | leaving else name
        if node.op_type in (*PRODUCTS, "Add") and any(
            n.removesuffix("/io") in halves for n in node.output
        ):
            for i, name in enumerate(node.input):
                cast(name, f"{name}/{node.name}/wide", TensorProto.FLOAT)
                node.input[i] = f"{name}/{node.name}/wide"
            result, node.output[0] = node.output[0], node.output[0] + "/wide"
            nodes.append(node)
            cast(node.output[0], result, TensorProto.BFLOAT16)
        else:
            nodes.append(node)
    for name in sorted(leaving):
        cast(f"{name}/io", name, TensorProto.FLOAT)
    for value in out.graph.output:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out
