"""The two ways to write `dit`: the textbook pattern is the one that TensorRT fuses, and it gives
the same numbers as the other.
"""

import onnx
import pytest
import torch
import yaml
from onnx import TensorProto
from safetensors.torch import load_file

from conftest import ROOT, closeness, graph_bytes
from drivewam_export.config import load
from drivewam_export.folder import open_checkpoint
from drivewam_export.model.transformer import MASKED
from drivewam_export.onnx_graphs import self_test
from drivewam_export.onnx_graphs.export import export
from drivewam_export.onnx_graphs.graphs import ATTENTIONS, layered, policy_graphs
from drivewam_export.onnx_graphs.precision import F32, PRECISIONS
from drivewam_export.onnx_graphs.verify import session

TINY = load(ROOT / "configs/model/tiny.yaml")
TRAINED = str(ROOT / "engines/tiny")
OF_A_LAYER = 3  # attentions: self, text, ego


@pytest.fixture(scope="module")
def folders(tmp_path_factory, shipped_folder):
    """The trained `dit` in f32, in each way."""
    textbook = tmp_path_factory.mktemp("engines") / "textbook"
    export(TINY, TRAINED, textbook, only=["dit"], attention="textbook")
    return {"scores_concatenated": shipped_folder, "textbook": textbook}


def to_product(node, step):
    """The next product from `node`, and the operations in between."""
    passed = []
    while (node := step(node)).op_type != "MatMul":
        passed.append(node.op_type)
    return node, passed


@pytest.mark.parametrize("name", PRECISIONS)
def test_each_attention_is_one_softmax_between_two_products(name, folders, tmp_path):
    """Breaks when the memory has a product of its own, softmax or the mask is in half precision,
    the pool is widened to f32, or anything stands between the products that TensorRT does not fuse:
    another operation, or tensors without a batch axis."""
    folder, precision = folders["textbook"], PRECISIONS[name]
    if precision is not F32:
        export(
            TINY,
            TRAINED,
            folder := tmp_path / name,
            precision=precision,
            only=["dit"],
            attention="textbook",
        )
    entry = yaml.safe_load((folder / "manifest.yaml").read_text())["graphs"]["dit"]
    assert (entry["attention"], entry["precision"], entry["tolerance"]) == (
        "textbook",
        name,
        precision.tolerance,
    )
    graph = onnx.shape_inference.infer_shapes(
        onnx.load(folder / "dit.onnx", load_external_data=False)
    ).graph
    kinds = {v.name: v.type.tensor_type for v in graph.value_info}
    makers = {output: node for node in graph.node for output in node.output}

    def user(node):
        (only,) = (n for n in graph.node if node.output[0] in n.input)
        return only

    found = [node for node in graph.node if node.op_type == "Softmax"]
    assert len(found) == OF_A_LAYER * TINY.layers and sum(
        n.op_type == "MatMul" for n in graph.node
    ) == 2 * len(found)
    cast, biased = ["Cast"] if precision is not F32 else [], 0
    for softmax in found:
        scores, before = to_product(softmax, lambda node: makers[node.input[0]])
        values, after = to_product(softmax, user)
        assert before in (cast, ["Add", *cast]) and after == cast, softmax.name
        biased += before[:1] == ["Add"]
        assert (
            kinds[softmax.input[0]].elem_type
            == kinds[softmax.output[0]].elem_type
            == TensorProto.FLOAT
        )
        for product in (scores, values):
            assert {kinds[t].elem_type for t in (*product.input, *product.output)} == {
                precision.onnx
            }, product.name
            # shape inference does not know the left one
            assert len(kinds[product.input[1]].shape.dim) == 4, product.name
    assert biased == 2 * TINY.layers, "memory and text have a mask"
    joined = [node.input[0] for node in graph.node if node.op_type == "Concat"]
    assert [t for t in joined if t.startswith("mem_") and t != "mem_bias"] == layered(
        ["mem_k", "mem_v"], TINY.layers
    ), "the pool as it comes"


def test_both_ways_give_the_same_numbers(folders):
    """On the self-test's inputs, and with rows of different scale, empty slots and a merged padding
    key. Inside a pass the video rows do not see the action rows."""
    names = ["velocity", *layered(["k", "v", "q"], TINY.layers)]
    sessions = {
        attention: session(
            onnx.load(folders[attention] / "dit.onnx", load_external_data=False),
            folders[attention],
            F32,
        )
        for attention in ATTENTIONS
    }
    run = lambda attention, feeds: [
        torch.from_numpy(x)
        for x in sessions[attention].run(names, {n: v.numpy() for n, v in feeds.items()})
    ]
    dit, worst = policy_graphs(open_checkpoint(TRAINED, TINY).model)[-1], 0.0
    for case, plain in self_test.inputs(dit, TINY, F32).items():
        harder = dict(plain)
        harder["self_scale"] = 0.5 + torch.arange(len(plain["tokens"])) / len(plain["tokens"])
        harder["mem_bias"] = torch.where(torch.arange(self_test.SLOTS) % 3 == 1, MASKED, 0.0)
        harder["text_bias"] = torch.tensor([MASKED] * 2 + [0.0] * (TINY.text_rows - 3) + [2.5])
        answers = {}
        for feeds in (plain, harder):
            wanted, answers[id(feeds)] = (run(attention, feeds) for attention in ATTENTIONS)
            worst = max(worst, *(closeness(a, b) for a, b in zip(answers[id(feeds)], wanted)))
        assert closeness(answers[id(harder)][0], answers[id(plain)][0]) > 1e-2, case
        if case == "packed":
            others = plain | {
                "tokens": torch.where(
                    plain["is_action"][:, None] > 0, -plain["tokens"], plain["tokens"]
                )
            }
            before, after = answers[id(plain)][0], run("textbook", others)[0]
            assert torch.equal(before[: TINY.nv], after[: TINY.nv]) and not torch.equal(
                before[TINY.nv :], after[TINY.nv :]
            )
    print(f"largest relative difference {worst:.1e}")
    assert worst <= 1e-5


def test_the_answers_of_the_self_test_do_not_depend_on_the_way(folders):
    """They are the model's. Breaks when a graph is checked against its own output."""
    concatenated, textbook = (
        {
            name: value
            for name, value in load_file(folders[attention] / self_test.FILE).items()
            if name.startswith("dit/")
        }
        for attention in ATTENTIONS
    )
    assert concatenated.keys() == textbook.keys() and all(
        torch.equal(v, textbook[k]) for k, v in concatenated.items()
    )
    shipped = ROOT / "engines/tiny/dit.onnx"
    graphs = [graph_bytes(folders[attention] / "dit.onnx", shipped) for attention in ATTENTIONS]
    assert graphs[0] == shipped.read_bytes() != graphs[1]
