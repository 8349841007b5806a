"""The self-test of a folder: the rule of its inputs, the content of its outputs, and those of the
shipped folder.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from conftest import ROOT, closeness
from drivewam_export.folder import ExportError, Mapping, open_checkpoint
from drivewam_export.guidance.join import GRAPHS as GUIDANCE
from drivewam_export.onnx_graphs import self_test, trajectory
from drivewam_export.onnx_graphs.export import open_graphs
from drivewam_export.onnx_graphs.graphs import Graph, policy_graphs
from drivewam_export.onnx_graphs.precision import BF16, F16, F32
from drivewam_export.onnx_graphs.trace import reference
from drivewam_export.streamed import LazyWeights

SHIPPED = ROOT / "engines/tiny"
# A name whose hash is so large that its elements wrap around.
WRAPPING = "wrap.289852"
# u("tokens", 0 .. 4), times 2^23.
TOKENS = [5467626, -5399122, 358302, 1527816]


def by_hand(name: str, i: int) -> float:
    """u(name, i) in integers."""
    x = 0x811C9DC5
    for byte in name.encode():
        x = ((x ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (x + i) & 0xFFFFFFFF
    x = ((x ^ x >> 16) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ x >> 15) * 0x846CA68B) & 0xFFFFFFFF
    return ((x ^ x >> 16) >> 8) / 2**23 - 1


def test_the_rule_is_the_documented_one_to_the_last_bit():
    """The runtime's test has the same numbers. Breaks when a shift, a constant or the wrap-around
    differs."""
    assert self_test.fnv1a32("") == 0x811C9DC5 and self_test.fnv1a32("a") == 0xE40C292C
    for name in ("tokens", "mem_k.29", "frames"):
        got = self_test.uniform(name, 1000)
        assert got.dtype == np.float32 and [float(x) for x in got] == [
            by_hand(name, i) for i in range(1000)
        ]
    left = 2**32 - self_test.fnv1a32(WRAPPING)
    assert [float(x) for x in self_test.uniform(WRAPPING, left + 2)[-4:]] == [
        by_hand(WRAPPING, i) for i in range(left - 2, left + 2)
    ]
    assert [float(x) * 2**23 for x in self_test.uniform("tokens", 4)] == TOKENS
    many = self_test.uniform("tokens", 100_000)
    assert (
        -1 <= many.min()
        and many.max() < 1
        and abs(many.mean()) < 0.01
        and abs(many.std() - 3**-0.5) < 0.01
    )


def test_dit_is_asked_in_three_shapes_with_video_rows_first(tiny):
    torch.manual_seed(0)
    dit = policy_graphs(open_checkpoint("random:0", tiny).model)[-1]
    cases = self_test.inputs(dit, tiny, F16)
    assert {case: (len(x["tokens"]), int(x["is_action"].sum())) for case, x in cases.items()} == {
        "video": (28, 0),
        "action": (8, 8),
        "packed": (36, 8),
    }
    packed = cases["packed"]
    assert packed["is_action"].tolist() == [0.0] * 28 + [1.0] * 8 and packed[
        "flow_time"
    ].tolist() == [0.75, 0.5]
    assert (
        packed["mem_k.3"].shape == (4, 8, 32)
        and packed["mem_bias"].tolist() == [0.0] * 8
        and packed["self_scale"].tolist() == [1.0] * 36
    )
    angle = math.pi * by_hand("rope", 5 * 16 + 2)
    assert packed["rope"].shape == (36, 16, 2) and packed["rope"][5, 2].tolist() == [
        np.float32(math.cos(angle)),
        np.float32(math.sin(angle)),
    ]
    # Only inputs in half are rounded.
    assert (
        packed["text_v.0"][0, 0, 1].item()
        == float(np.float16(by_hand("text_v.0", 1)))
        != by_hand("text_v.0", 1)
    )
    assert packed["tokens"][0, 1].item() == by_hand("tokens", 1)
    assert (
        self_test.inputs(dit, tiny, BF16)["packed"]["mem_v.0"].flatten()[7]
        == torch.tensor(by_hand("mem_v.0", 7)).bfloat16()
    )
    assert self_test.inputs(dit, tiny, F32)["packed"]["mem_v.0"].flatten()[7] == by_hand(
        "mem_v.0", 7
    )


def test_an_answer_is_spread_samples_and_the_norm_of_all():
    big, small = torch.arange(1000.0).view(10, 100), torch.tensor([[3.0], [4.0]])
    kept = self_test.answer("g", "only", {"big": big, "small": small})
    assert kept["g/only/big"].tolist() == [float(j * 1000 // 64) for j in range(64)]
    assert kept["g/only/small"].tolist() == [3.0, 4.0] and kept["g/only/small/norm"].tolist() == [
        5.0
    ]
    assert kept["g/only/big/norm"].tolist() == [
        np.float32(math.sqrt(sum(i * i for i in range(1000))))
    ]


def test_whole_numbers_are_refused(tiny):
    graph = Graph(
        "text_encode", nn.Identity(), "", "", {"ids": torch.zeros(3, dtype=torch.long)}, ["text"]
    )
    with pytest.raises(ExportError, match="text_encode.*ids"):
        self_test.inputs(graph, tiny, F32)


def test_the_shipped_answers_are_those_of_the_shipped_weights(tiny):
    """Breaks when weights, graphs or the rule change and the folder is not exported again."""
    manifest = yaml.safe_load((SHIPPED / "manifest.yaml").read_text())
    # Those of the guidance belong to other weights (test_guidance_half.py).
    policy = ["trajectory", *(name for name in manifest["graphs"] if name not in GUIDANCE)]
    kept = load_file(SHIPPED / manifest["self_test"]["file"])
    kept = {name: values for name, values in kept.items() if name.split("/")[0] in policy}
    source, graphs, sources = open_graphs(str(SHIPPED), tiny, Mapping(), None, True)
    wanted = {
        "trajectory/decoded": self_test.decoded(tiny, source.normalisation),
        "trajectory/predicted": trajectory.predicted(tiny, source, sources["model."]),
    }
    for graph in graphs:
        for case, values in self_test.inputs(graph, tiny, F32, texts=source.rows).items():
            with LazyWeights(graph.module, graph.prefix, sources[graph.prefix]):
                wanted |= self_test.answer(graph.name, case, reference(graph, values))
        assert {o["name"] for o in manifest["graphs"][graph.name]["outputs"]} == set(graph.outputs)
    assert kept.keys() == wanted.keys() and {k.split("/")[0] for k in kept} == {*policy}
    worst = max(closeness(kept[name], value) for name, value in wanted.items())
    print(f"{len(kept)} tensors, largest relative difference {worst:.1e}")
    assert worst <= 1e-5


def test_a_decoded_trajectory_is_the_sum_of_undone_actions(tiny):
    """Breaks when channels are exchanged, or the normalisation is not the manifest's."""
    action = {"q01": [0.0, -0.5, -0.1], "q99": [2.0, 0.5, 0.3], "epsilon": 0.01}
    got = self_test.decoded(tiny, {"action": action})
    assert got.shape == (40, 3) and got.dtype == torch.float32
    for channel, (low, high) in enumerate(zip(action["q01"], action["q99"])):
        undone = [
            (by_hand("actions", 3 * step + channel) + 1) / 2 * (high - low + 0.01) + low
            for step in range(40)
        ]
        assert got[39, channel].item() == pytest.approx(sum(undone), abs=1e-5)
    moved = self_test.decoded(tiny, {"action": action | {"epsilon": 0.0100011}})
    assert (moved - got).abs().max() > 1e-5


def test_the_rollout_depends_on_shifts_and_commands(tiny):
    """Breaks when the rollout ignores the manifest's schedule or the text."""
    source = open_checkpoint(str(SHIPPED), tiny)
    predict = lambda **changes: trajectory.predicted(
        tiny, dataclasses.replace(source, **changes), source.policy_weights
    )
    first, schedule = predict(), source.schedule
    for stream in ("video", "action"):
        shifted = schedule | {stream: {"shift": 4.0}}
        assert (predict(schedule=shifted) - first).abs().max() > 1e-3, stream
    other = source.rows | {"left": source.rows["right"]}
    assert not torch.equal(predict(rows=other), first)
