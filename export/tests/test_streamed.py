"""Nothing holds all weights in memory: they are generated, mapped, written, run and verified one at
a time.
"""

import dataclasses
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from safetensors.torch import save_file

from conftest import ROOT
from drivewam_export.config import load
from drivewam_export.folder import RANDOM_NORMALISATION, Mapping, open_checkpoint
from drivewam_export.model import DriveWam
from drivewam_export.onnx_graphs import self_test, verify, weights
from drivewam_export.onnx_graphs.export import export, write_folder
from drivewam_export.onnx_graphs.graphs import policy_graphs
from drivewam_export.onnx_graphs.precision import PRECISIONS
from drivewam_export.random_weights import random_weights
from drivewam_export.streamed import (
    LazyWeights,
    in_memory,
    materialize,
    on_meta,
    shapes_of,
    weightless,
)

# Allowed growth of memory per growth of the stored weights. Holding them would be 1, in f32 2.
GROWTH = 0.5


def wide(config, layers):
    """85 million weights a layer: 169 MB in half precision."""
    return dataclasses.replace(
        config,
        name="wide",
        dim=2048,
        heads=16,
        head_dim=128,
        ffn_dim=8192,
        layers=layers,
        rope=dataclasses.replace(config.rope, split=(44, 42, 42)),
    )


def test_a_random_weight_is_its_seed_s_and_its_name_s(tiny):
    """Breaks when a weight depends on those generated before it, or the first layers of a truncated
    model differ from the whole model's."""
    shapes = shapes_of(on_meta(DriveWam, tiny))
    state, again = random_weights(shapes, 0).all(), random_weights(shapes, 0)
    assert all(torch.equal(again.read(name), state[name]) for name in reversed(shapes))
    cut = shapes_of(on_meta(DriveWam, dataclasses.replace(tiny, layers=2)))
    assert len(cut) < len(shapes) and all(
        torch.equal(value, state[name]) for name, value in random_weights(cut, 0).all().items()
    )
    assert not torch.equal(
        random_weights(shapes, 1).read("proj_out.weight"), state["proj_out.weight"]
    )
    assert not torch.equal(state["blocks.0.attn1.to_q.weight"], state["blocks.1.attn1.to_q.weight"])


def test_random_weights_are_spread_as_pytorch_spreads_them(tiny):
    torch.manual_seed(0)
    source = random_weights(shapes_of(on_meta(DriveWam, tiny)), 0)
    for name, value in DriveWam(tiny).state_dict().items():
        got = source.read(name)
        assert got.shape == value.shape and got.dtype == value.dtype
        if value.numel() > 1000 and value.std() > 0:
            assert abs(got.mean()) < 0.2 * got.std() and abs(got.std() / value.std() - 1) < 0.1, (
                name
            )
        elif value.std() == 0:
            assert torch.equal(got, value), name


@pytest.mark.parametrize("name", PRECISIONS)
def test_streamed_and_whole_give_the_same_bytes(name, tiny, tmp_path):
    """Graphs, weights and self-test: of weights that were generated one at a time, and of a model
    in memory."""
    config, precision = dataclasses.replace(tiny, layers=2), PRECISIONS[name]
    export(
        config,
        "random:5",
        tmp_path / "streamed",
        precision=precision,
        only=["context_text", "context_ego", "dit"],
    )
    source = open_checkpoint("random:5", config)
    graphs, sources = policy_graphs(source.model), {"model.": in_memory(source.model.state_dict())}
    write_folder(source, tmp_path / "whole", f"portable-{name}", graphs, sources, precision)
    files = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert (
        files == sorted(p.name for p in (tmp_path / "streamed").iterdir())
        and "dit.safetensors" in files
        and self_test.FILE in files
    )
    assert [
        f
        for f in files
        if (tmp_path / "whole" / f).read_bytes() != (tmp_path / "streamed" / f).read_bytes()
    ] == []


def test_a_weight_without_lazy_weights_is_not_there(tiny):
    """Breaks when a module on meta, or a weightless one, can compute with numbers of its own."""
    config = dataclasses.replace(tiny, layers=1)
    graph = policy_graphs(on_meta(DriveWam, config))[0]
    with pytest.raises(RuntimeError, match="meta"):
        graph.module(graph.inputs["text"])
    empty = weightless(graph.module)
    assert all(
        not value.any() and value.data_ptr() == next(empty.parameters()).data_ptr()
        for value in empty.parameters()
    )
    source = random_weights(shapes_of(on_meta(DriveWam, config)), 0)
    with torch.no_grad(), LazyWeights(graph.module, graph.prefix, source):
        got = graph.module(graph.inputs["text"])
    with torch.no_grad():
        wanted = policy_graphs(materialize(DriveWam, config, source))[0].module(
            graph.inputs["text"]
        )
    assert all(torch.equal(a, b) for a, b in zip(got, wanted)) and all(
        p.is_meta for p in graph.module.parameters()
    )


@pytest.mark.parametrize("name", PRECISIONS)
def test_pieces_give_what_the_whole_gives(name, tiny, tmp_path, monkeypatch):
    """Breaks when a tensor is lost between two pieces, or a piece exceeds its limit."""
    config, precision, limit = dataclasses.replace(tiny, layers=2), PRECISIONS[name], 300_000
    export(config, "random:0", tmp_path / "x", precision=precision, only=["dit"])
    path, graph = tmp_path / "x/dit.onnx", policy_graphs(on_meta(DriveWam, config))[-1]
    cases = self_test.inputs(graph, config, precision)
    wanted = verify.run(graph, path, precision, cases)
    parts = verify.pieces(onnx.load(path, load_external_data=False), limit)
    sizes = [[verify.stored_bytes(t) for t in part.graph.initializer] for part in parts]
    assert len(parts) > 3 and all(sum(s) <= max(limit, 1.02 * max(s, default=0)) for s in sizes)
    monkeypatch.setattr(verify, "PIECE_BYTES", limit)
    got = verify.run(graph, path, precision, cases)
    assert got.keys() == wanted.keys()
    for case, values in wanted.items():
        assert values.keys() == got[case].keys() == set(graph.outputs)
        for output, value in values.items():  # in f32, what ONNX Runtime fuses may differ
            assert (
                np.array_equal(got[case][output], value)
                or name == "f32"
                and np.abs(got[case][output] - value).max() < 1e-5 * np.abs(value).max()
            ), output


@pytest.mark.long
def test_memory_does_not_grow_with_the_weights(tiny, tmp_path):
    """With random weights and those of a checkpoint, three layers need hardly more memory than one.
    A subprocess that does nothing else exports all three."""
    (tmp_path / "beside").mkdir()
    save_file(open_checkpoint("random:0", tiny).rows, tmp_path / "beside/commands.safetensors")
    (tmp_path / "beside/normalisation.yaml").write_text(yaml.safe_dump(RANDOM_NORMALISATION))
    weights.write(
        tmp_path / "theirs.safetensors",
        random_weights(shapes_of(on_meta(DriveWam, wide(tiny, 3))), 0),
        PRECISIONS["f16"].stored,
    )
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=True
    )
    peak = {
        out: int(kilobytes) / 1e3
        for out, kilobytes in (line.split() for line in done.stdout.splitlines())
    }
    size = {out: (tmp_path / out / "dit.safetensors").stat().st_size / 1e6 for out in peak}
    print(
        "weights and peak so far, MB:", {out: (round(size[out]), round(peak[out])) for out in size}
    )
    for out in ("three", "mapped"):
        assert size[out] - size["one"] > 250 and peak[out] - peak["one"] < GROWTH * (
            size[out] - size["one"]
        ), out


def export_three(folder):
    """The subprocess of the test above. Prints the peak in kB after each export."""
    tiny = load(ROOT / "configs/model/tiny.yaml")
    for out, layers, checkpoint in (
        ("one", 1, "random:0"),
        ("three", 3, "random:0"),
        ("mapped", 3, f"lingbot:{folder / 'theirs.safetensors'}"),
    ):
        export(
            wide(tiny, layers),
            checkpoint,
            folder / out,
            mapping=Mapping(folder / "beside"),
            precision=PRECISIONS["f16"],
            only=["dit"],
        )
        print(out, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


def test_an_interrupted_export_leaves_nothing(tmp_path):
    command = [
        sys.executable,
        "-m",
        "drivewam_export.onnx_graphs.export",
        "--config",
        ROOT / "configs/model/tiny.yaml",
        "--checkpoint",
        "random:0",
        "--out",
        tmp_path / "out",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out.partial").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert (
        "nothing was written" in process.communicate()[1]
        and process.returncode == 1
        and not any(tmp_path.iterdir())
    )


if __name__ == "__main__":
    export_three(Path(sys.argv[1]))
