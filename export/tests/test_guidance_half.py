"""The graphs of the guidance in half precision: the types of weights, inputs and outputs, and
results against the f32 models.
"""

import re

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file

from conftest import ROOT
from drivewam_export.fixtures import tiny_vlm
from drivewam_export.folder import ExportError
from drivewam_export.guidance.decoder import decoder_graph, decoder_inputs
from drivewam_export.guidance.export import export
from drivewam_export.guidance.fixture import MAX_NEW_TOKENS, SIZE, prompts, write_tokenizer
from drivewam_export.guidance.generate import VlmGuidance
from drivewam_export.guidance.golden import answers
from drivewam_export.guidance.join import join
from drivewam_export.guidance.random_models import STOP, encoder, vlm
from drivewam_export.guidance.text import text_graph
from drivewam_export.guidance.vision import vision_graph
from drivewam_export.model.transformer import MASKED
from drivewam_export.onnx_graphs import precision as precisions
from drivewam_export.onnx_graphs import self_test
from drivewam_export.onnx_graphs import verify as verifies
from drivewam_export.onnx_graphs.precision import F16, F32, MOVES, PRECISIONS, PRODUCTS
from drivewam_export.onnx_graphs.trace import reference
from drivewam_export.onnx_graphs.verify import run, session, verify
from drivewam_export.train.guidance import shipped
from test_precision import NUMPY, nodes

ROWS, WIDTH = 64, 64  # of the text, as engines/tiny reads it
FILES = ("vlm_decoder", "vlm_vision", "text_encode")
NORMS = re.compile(r".*(norm|layernorm)\d?\.(weight|bias)")


def models():
    return vlm(2, tied=True), encoder(0, WIDTH, calm=True)


def made(folder, precision):
    vlm_model, text_encoder = models()
    files = {"vlm": folder.parent / "vlm.json", "text": folder.parent / "text.json"}
    write_tokenizer(files["vlm"], 97, {})
    write_tokenizer(files["text"], text_encoder.config.vocab_size, {})
    export(vlm_model, text_encoder, folder, [SIZE], ROWS, files, precision=precision)
    return folder


@pytest.fixture(scope="module", params=["f16", "bf16"])
def half(request, tmp_path_factory):
    """The precision, and a folder of all three graphs in it. The embedding is tied."""
    return PRECISIONS[request.param], made(
        tmp_path_factory.mktemp("half") / "guidance", PRECISIONS[request.param]
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same in f32."""
    return made(tmp_path_factory.mktemp("plain") / "guidance", F32)


def graphs():
    vlm_model, text_encoder = models()
    out = [vision_graph(vlm_model, *SIZE), decoder_graph(vlm_model), text_graph(text_encoder, ROWS)]
    for graph in out:
        graph.module.eval()
    return out


def cases(graph, precision) -> dict[str, dict[str, torch.Tensor]]:
    """The self-test's inputs and random ones, rounded to the types of the graph's inputs."""
    vocabulary = {"vlm_decoder": 97, "text_encode": 80}.get(graph.name, 0)
    out, g = self_test.inputs(graph, None, precision, vocabulary), torch.Generator().manual_seed(1)
    if graph.name == "vlm_decoder":
        more = {
            f"{rows} over {slots}": decoder_inputs(models()[0], rows, slots, seed=rows)
            for rows, slots in ((1, 40), (23, 8))
        }
    elif graph.name == "text_encode":
        ids = torch.randint(1, vocabulary, (ROWS,), generator=g).float()
        more = {
            f"{count} tokens": {"ids": ids, "pad_bias": (torch.arange(ROWS) >= count) * MASKED}
            for count in (2, ROWS)
        }
    else:
        more = {
            "random": {
                name: torch.randn(value.shape, generator=g) for name, value in graph.inputs.items()
            }
        }
    rounded = lambda values: {
        name: value.to(precision.io(name).torch).float() for name, value in values.items()
    }
    return out | {case: rounded(values) for case, values in more.items()}


def test_every_graph_stays_within_its_limit(half):
    """In ONNX Runtime, on more inputs than the export checks."""
    precision, folder = half
    for graph in graphs():
        inputs = cases(graph, precision)
        got, worst = run(graph, folder / f"{graph.name}.onnx", precision, inputs), 0.0
        for case, values in inputs.items():
            wanted = reference(graph, values)
            worst = max(
                [
                    worst,
                    *(
                        self_test.difference(
                            torch.from_numpy(got[case][name]).float(), wanted[name]
                        )
                        for name in graph.outputs
                    ),
                ]
            )
        print(f"{graph.name} in {precision.name}: {worst:.1e} of the root mean square")
        assert F32.limit < worst <= precision.limit, graph.name


def test_a_second_evaluator_agrees(half):
    """ONNX's own reference evaluator in NumPy, which knows bf16, on the inputs of the self-test."""
    precision, folder = half
    for graph in graphs():
        evaluator, worst = ReferenceEvaluator(str(folder / f"{graph.name}.onnx")), 0.0
        kind = lambda name: NUMPY[precision.name] if precision.io(name) is precision else np.float32
        for values in self_test.inputs(graph, None, precision, 80).values():
            wanted = reference(graph, values)
            for name, got in zip(
                graph.outputs,
                evaluator.run(
                    graph.outputs, {n: v.numpy().astype(kind(n)) for n, v in values.items()}
                ),
            ):
                assert got.dtype == kind(name), name
                worst = max(
                    worst,
                    self_test.difference(torch.from_numpy(got.astype(np.float32)), wanted[name]),
                )
        print(f"{graph.name} in {precision.name}: {worst:.1e} of the root mean square")
        assert F32.limit < worst <= precision.tolerance, graph.name


def test_only_keys_and_values_are_half(half, plain):
    """The contract of core/guidance.rs. Breaks when logits, ids or text rows are half, or a graph
    without a cache is not in half precision."""
    precision, folder = half
    got, f32 = (yaml.safe_load((f / "guidance.yaml").read_text()) for f in (folder, plain))
    for name, entry in got["graphs"].items():
        assert (entry["precision"], entry["tolerance"]) == (precision.name, precision.tolerance)
        model = onnx.load(folder / entry["file"], load_external_data=False).graph
        for side, values in (("inputs", model.input), ("outputs", model.output)):
            assert [t | {"dtype": "f32"} for t in entry[side]] == f32["graphs"][name][side]
            assert [t["name"] for t in entry[side]] == [v.name for v in values]
            for tensor, value in zip(entry[side], values):
                cached = tensor["name"].split(".")[0] in ("mem_k", "mem_v", "k", "v")
                assert tensor["dtype"] == (precision.name if cached else "f32"), tensor
                assert value.type.tensor_type.elem_type == (
                    precision.onnx if cached else TensorProto.FLOAT
                ), tensor
    assert {k: v for k, v in got.items() if k not in ("graphs", "files")} == {
        k: v for k, v in f32.items() if k not in ("graphs", "files")
    }


def test_norms_and_tables_are_stored_f32_and_all_else_half(half, plain):
    """Breaks when a gain is rounded, when a weight is silently stored in f32, or when a tied
    embedding is stored twice."""
    precision, folder = half
    for file in FILES:
        stored, wide = (load_file(f / f"{file}.safetensors") for f in (folder, plain))
        assert stored.keys() == wide.keys()
        for name, value in stored.items():
            last = ".DenseReluDense.wo." in name
            stays = (
                NORMS.fullmatch(name)
                or "relative_attention_bias" in name
                or name in ("vlm_vision.positions", "vlm_vision.rope")
                or last
                and precision is F16
            )
            assert value.dtype == (torch.float32 if stays else precision.torch), name
            assert torch.equal(value, wide[name].to(value.dtype)), name
    kept = load_file(folder / "vlm_decoder.safetensors")
    assert "lm_head.weight" not in kept
    graph = onnx.load(folder / "vlm_decoder.onnx", load_external_data=False).graph
    readers = {
        node.op_type
        for node in graph.node
        if "model.model.language_model.embed_tokens.weight" in node.input
    }
    assert readers == {"Gather", "Gemm"}, "the embedding is read as it lies, by both"


def test_products_are_half_and_everything_else_is_f32(half):
    """As test_precision.py checks for the policy. Breaks when a norm or a softmax is computed in
    half, or a product other than the feed-forward's last in f32."""
    precision, folder = half
    seen = {}
    for file in FILES:
        for node, ins, outs in nodes(folder / f"{file}.onnx"):
            where = f"{file}: {node.op_type} {node.name}"
            assert TensorProto.DOUBLE not in ins + outs and len(set(ins)) <= 1, where
            if node.op_type in ("Cast", "Shape") or not ins + outs:
                continue
            assert len(set(ins + outs)) == 1, where
            if node.op_type in PRODUCTS:
                assert ins[0] == (
                    TensorProto.FLOAT
                    if precision is F16 and ".wo." in " ".join(node.input)
                    else precision.onnx
                ), where
            elif ins[:1] == [precision.onnx]:
                assert (
                    node.op_type in MOVES
                    or node.op_type == "Add"
                    and any(i.endswith("bias") for i in node.input)
                ), where
            seen.setdefault(node.op_type, set()).add((ins or outs)[0])
    for island in (
        "Softmax",
        "LayerNormalization",
        "ReduceMean",
        "Sigmoid",
        "Tanh",
        "Sub",
        "Mul",
        "Constant",
    ):
        assert seen[island] == {TensorProto.FLOAT}, island
    assert "Conv" not in seen, "bf16 has none"


def loud():
    """An encoder like trained ones: the inputs of its feed-forward's last product exceed f16, no
    weight does."""
    model = encoder(0, WIDTH, calm=True)
    for block in model.encoder.block:
        feed = block.layer[1].DenseReluDense
        for product in (feed.wi_0, feed.wi_1):
            product.weight.data *= 300
    return model


def test_the_last_product_of_a_feed_forward_is_beyond_f16(tmp_path, monkeypatch):
    """Breaks when `wo` is multiplied in f16: then the output is NaN or infinite."""
    export(None, loud(), tmp_path / "text", rows=ROWS, precision=F16)
    export(None, loud(), tmp_path / "text-bf16", rows=ROWS, precision=PRECISIONS["bf16"])
    monkeypatch.setattr(precisions, "BEYOND_F16", re.compile("nothing"))
    with pytest.raises(
        ExportError, match="text_encode: only/text: .* differs from PyTorch by (nan|inf)"
    ):
        export(None, loud(), tmp_path / "broken", rows=ROWS, precision=F16)
    assert not (tmp_path / "broken").exists()


def test_what_is_no_number_is_never_within_a_limit(half, monkeypatch):
    """Breaks when a later correct output hides an earlier NaN."""
    precision, folder = half
    graph = graphs()[1]
    inputs = self_test.inputs(graph, None, precision, 97)
    wanted = {case: reference(graph, values) for case, values in inputs.items()}
    got = {
        case: {name: value.numpy().copy() for name, value in values.items()}
        for case, values in wanted.items()
    }
    monkeypatch.setattr(verifies, "run", lambda *_: got)
    path = folder / "vlm_decoder.onnx"
    assert verify(graph, path, precision, inputs, wanted) == 0.0
    got["one"]["logits"][0] = np.nan
    with pytest.raises(ExportError, match="one/logits: ONNX Runtime differs from PyTorch by nan"):
        verify(graph, path, precision, inputs, wanted)


@pytest.fixture(scope="module")
def golden():
    """54 prompts of none to two images, and the greedy answers of `generate` in f32."""
    vlm_model = vlm(0)
    return vlm_model, answers(vlm_model, prompts(), MAX_NEW_TOKENS, STOP)


# Of 54; measured 52 and 40. In bf16 two of 97 random logits are often equal; f16 has eight times as
# many values between them.
@pytest.mark.parametrize("name, least", [("f16", 50), ("bf16", 36)])
def test_greedy_tokens_are_those_of_transformers(golden, tmp_path, name, least):
    """Breaks when rounding changes answers, as it would if attention or norms were computed in
    half."""
    (vlm_model, asked), precision = golden, PRECISIONS[name]
    export(vlm_model, None, tmp_path / "vlm", [SIZE], precision=precision)
    guide = VlmGuidance(
        tmp_path / "vlm",
        lambda path: session(onnx.load(path, load_external_data=False), path.parent, precision),
    )
    # emulated bf16 has f32 inputs and outputs
    assert guide.cache_dtype == (np.float16 if name == "f16" else np.float32)
    same = []
    for i in range(54):
        images = [(patches.numpy(), *SIZE) for patches in asked[f"{i}/patches"]]
        answer = guide.generate(asked[f"{i}/ids"].tolist(), images, MAX_NEW_TOKENS, (STOP,))
        same.append(answer.tokens == asked[f"{i}/tokens"].tolist())
    print(f"{name}: {sum(same)} of {len(same)} answers, token for token")
    assert sum(same) >= least


def test_the_shipped_guidance_is_exported_again(tmp_path):
    """In f32 to the shipped bytes; in half within its limits, and readable as a checkpoint. Breaks
    when half precision changes the f32 export."""
    tiny_vlm.export_guidance(tmp_path / "f32", F32)
    for file in FILES:
        for name in (f"{file}.onnx", f"{file}.safetensors"):
            assert (tmp_path / "f32" / name).read_bytes() == (
                tiny_vlm.SHIPPED / name
            ).read_bytes(), name
    tiny_vlm.export_guidance(tmp_path / "f16", F16)
    model, wide = (
        shipped.load_vlm(folder, (64, 112))[0].model
        for folder in (tmp_path / "f16", tiny_vlm.SHIPPED)
    )
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for (name, value), other in zip(
        model.state_dict().items(), wide.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other.to(F16.stored(name)).float()), name
    sizes = [
        sum((folder / f"{file}.safetensors").stat().st_size for file in FILES)
        for folder in (tmp_path / "f16", tmp_path / "f32")
    ]
    assert 0.5 < sizes[0] / sizes[1] < 0.55


def test_a_half_guidance_joins_an_f32_policy(half, tmp_path):
    """Breaks when a manifest has one precision for all of its graphs."""
    precision, folder = half
    join(ROOT / "engines/tiny", folder, tmp_path / "out")
    graphs = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())["graphs"]
    assert {name: entry["precision"] for name, entry in graphs.items()} == {
        name: precision.name if name in FILES else "f32" for name in graphs
    }
    assert {t["dtype"] for t in graphs["vlm_decoder"]["inputs"]} == {"f32", precision.name}
