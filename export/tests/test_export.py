"""Export of a random-weight model: graphs, weights that exist once, the manifest, and refusals."""

import dataclasses
import hashlib
import shutil

import onnx
import onnxruntime
import pytest
import yaml
from safetensors.torch import load_file

from conftest import ROOT, graph_bytes
from drivewam_export.onnx_graphs.export import ExportError, export


def test_the_manifest_attests_every_file(random_folder):
    """Breaks when a file is written after it was hashed, or is not listed."""
    manifest = yaml.safe_load((random_folder / "manifest.yaml").read_text())
    listed = set(manifest["files"]) | {"manifest.yaml"}
    assert listed == {p.name for p in random_folder.iterdir()}
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((random_folder / name).read_bytes()).hexdigest() == entry["sha256"]
        assert entry["role"] == {
            "commands.safetensors": "commands",
            "self_test.safetensors": "self_test",
        }.get(name, "graph" if name.endswith(".onnx") else "weights")
    assert list(manifest) == [
        "schema",
        "name",
        "target",
        "flow_direction",
        "model",
        "normalisation",
        "schedule",
        "commands",
        "self_test",
        "graphs",
        "files",
        "training",
    ]
    assert (
        manifest["schema"] == 2
        and manifest["self_test"] == {"file": "self_test.safetensors"}
        and manifest["target"] == "portable-f32"
    )
    assert list(manifest["graphs"]["dit"]) == [
        "file",
        "weights",
        "opset",
        "precision",
        "tolerance",
        "attention",
        "inputs",
        "outputs",
    ]
    assert manifest["graphs"]["dit"]["tolerance"] == 1e-3
    assert set(manifest["graphs"]) == {
        "vae_encode_first",
        "vae_encode",
        "vae_decode",
        "context_text",
        "context_ego",
        "dit",
    }
    tokens = next(t for t in manifest["graphs"]["dit"]["inputs"] if t["name"] == "tokens")
    assert tokens == {"name": "tokens", "dtype": "f32", "shape": ["N", 96]}


def test_no_weight_stands_inside_an_onnx_file(random_folder):
    """Breaks when the exporter folds, transposes or copies a weight."""
    for path in random_folder.glob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        inline = sum(len(t.raw_data) for t in model.graph.initializer)
        assert inline < 32 * 1024, (path.name, inline)


def test_an_exported_folder_is_a_checkpoint(random_folder, tmp_path, tiny):
    """Breaks when the export loses a weight, or is not deterministic."""
    export(tiny, str(random_folder), tmp_path / "again", "portable-f32")
    for name in ("dit.safetensors", "dit.onnx", "context.safetensors", "vae_encode.safetensors"):
        assert (random_folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_missing_and_an_unknown_weight_are_named_and_nothing_is_left_behind(
    random_folder, tmp_path, tiny
):
    broken = tmp_path / "broken"
    shutil.copytree(random_folder, broken)
    from safetensors.torch import save_file

    state = load_file(broken / "dit.safetensors")
    state["blocks.0.attn1.to_x.weight"] = state.pop("blocks.0.attn1.to_q.weight")
    save_file(state, broken / "dit.safetensors")
    with pytest.raises(ExportError) as caught:
        export(tiny, str(broken), tmp_path / "out", "portable-f32")
    assert "missing blocks.0.attn1.to_q.weight" in str(
        caught.value
    ) and "unknown blocks.0.attn1.to_x.weight" in str(caught.value)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_truncated_weight_file_does_not_load(random_folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(random_folder, broken)
    data = (broken / "dit.safetensors").read_bytes()
    (broken / "dit.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(Exception):
        onnxruntime.InferenceSession(str(broken / "dit.onnx"), providers=["CPUExecutionProvider"])


def test_the_shipped_folder_exports_to_itself(shipped_folder):
    """Breaks when the f32 trace changes, and so the graphs that the runtime was tested with."""
    for path in (ROOT / "engines/tiny").glob("*.*"):
        # the last bits of self_test.safetensors depend on the processor
        if path.name not in ("manifest.yaml", "self_test.safetensors"):
            again = shipped_folder / path.name
            got = graph_bytes(again, path) if path.suffix == ".onnx" else again.read_bytes()
            assert path.read_bytes() == got, path.name


def test_a_cut_has_so_many_layers_and_only_the_graphs_that_were_named(tiny, tmp_path):
    """The configuration's codec does not fit its images here, as at the paper's size: without a
    codec graph it is not built."""
    wide = dataclasses.replace(tiny, image=dataclasses.replace(tiny.image, height=128))
    export(wide, "random:0", tmp_path / "cut", layers=2, only=["dit", "context_ego"])
    manifest = yaml.safe_load((tmp_path / "cut/manifest.yaml").read_text())
    assert list(manifest["graphs"]) == ["context_ego", "dit"] and manifest["model"]["layers"] == 2
    assert {k.split("/")[0] for k in load_file(tmp_path / "cut/self_test.safetensors")} == {
        "context_ego",
        "dit",
        "trajectory",
    }
    assert "mem_k.1" in {
        t["name"] for t in manifest["graphs"]["dit"]["inputs"]
    } and "mem_k.2" not in {t["name"] for t in manifest["graphs"]["dit"]["inputs"]}
    cases = [
        ("random:0", {}, "stride of 8"),
        ("random:0", {"only": ["dit", "vlm"]}, "got vlm; wanted some of vae_encode_first"),
        ("random:0", {"only": ["dit"], "layers": 7}, "--layers 7: wanted 1 to 6"),
        (str(ROOT / "engines/tiny"), {"layers": 2}, "wanted random:SEED"),
    ]
    for checkpoint, options, words in cases:
        with pytest.raises(ExportError, match=words):
            export(wide, checkpoint, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
