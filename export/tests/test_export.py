"""Export of a random-weight model: graphs, weights that exist once, the manifest, and what is refused."""

import hashlib
import shutil

import onnx
import onnxruntime
import pytest
import torch
import yaml
from safetensors.torch import load_file

from drivewam_export.onnx_graphs.export import ExportError, export
from conftest import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from drivewam_export.config import load

    out = tmp_path_factory.mktemp("engines") / "tiny"
    export(load(ROOT / "configs/model/tiny.yaml"), "random:0", out, "portable-f32")
    return out


def test_the_manifest_vouches_for_every_file(folder):
    """Breaks when a file is written after it was hashed, or not listed."""
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    listed = set(manifest["files"]) | {"manifest.yaml"}
    assert listed == {p.name for p in folder.iterdir()}
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]
    assert set(manifest["graphs"]) == {"vae_encode_first", "vae_encode", "vae_decode", "context_text", "context_ego", "dit"}
    tokens = next(t for t in manifest["graphs"]["dit"]["inputs"] if t["name"] == "tokens")
    assert tokens == {"name": "tokens", "dtype": "f32", "shape": ["N", 96]}


def test_no_weight_stands_inside_an_onnx_file(folder):
    """Breaks when the exporter folds, transposes or copies a weight."""
    for path in folder.glob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        inline = sum(len(t.raw_data) for t in model.graph.initializer)
        assert inline < 32 * 1024, (path.name, inline)


def test_an_exported_folder_is_a_checkpoint(folder, tmp_path, tiny):
    """Breaks when a weight is lost on the way out, or the export is not deterministic."""
    export(tiny, str(folder), tmp_path / "again", "portable-f32")
    for name in ("dit.safetensors", "dit.onnx", "context.safetensors", "vae_encode.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_missing_and_an_unknown_weight_are_named_and_nothing_is_left_behind(folder, tmp_path, tiny):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    from safetensors.torch import save_file

    state = load_file(broken / "dit.safetensors")
    state["blocks.0.attn1.to_x.weight"] = state.pop("blocks.0.attn1.to_q.weight")
    save_file(state, broken / "dit.safetensors")
    with pytest.raises(ExportError) as caught:
        export(tiny, str(broken), tmp_path / "out", "portable-f32")
    assert "missing blocks.0.attn1.to_q.weight" in str(caught.value) and "not known blocks.0.attn1.to_x.weight" in str(caught.value)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_truncated_weight_file_does_not_load(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    data = (broken / "dit.safetensors").read_bytes()
    (broken / "dit.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(Exception):
        onnxruntime.InferenceSession(str(broken / "dit.onnx"), providers=["CPUExecutionProvider"])
