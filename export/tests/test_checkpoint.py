"""Checkpoints with other names: generated files with LingBot-VA's and diffusers' names, at tiny
size and at full width.
"""

import dataclasses
import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from conftest import ROOT, closeness
from drivewam_export.checkpoint import CheckpointError, Names, mapped
from drivewam_export.config import load
from drivewam_export.folder import Mapping, sha256
from drivewam_export.model import DriveWam
from drivewam_export.onnx_graphs.export import ExportError, export
from drivewam_export.onnx_graphs.export_vae import small_model
from drivewam_export.packed import patchify
from drivewam_export.rope import table, video_positions
from drivewam_export.streamed import materialize


def theirs(config, state):
    """Our state dict under LingBot-VA's names: the head's rows as (row, column, channel), and the
    text part that its action embedder never uses."""
    _, ph, pw = config.patch
    order = (
        torch.arange(config.video_channels)
        .view(config.latent.channels, ph, pw)
        .permute(1, 2, 0)
        .flatten()
    )
    out = {
        name: value[order].clone() if name.startswith("proj_out.") else value.clone()
        for name, value in state.items()
    }
    for name in [n for n in state if n.startswith("condition_embedder.text_embedder.")]:
        out[name.replace("condition_embedder.", "condition_embedder_action.", 1)] = state[
            name
        ].clone()
    return out


def shard(state, folder, parts=3, stem="diffusion_pytorch_model"):
    """Writes shards and their index, as diffusers saves them."""
    folder.mkdir(parents=True, exist_ok=True)
    names, index = sorted(state), {}
    for i in range(parts):
        file = f"{stem}-{i + 1:05}-of-{parts:05}.safetensors"
        save_file({n: state[n].contiguous() for n in names[i::parts]}, folder / file)
        index |= {n: file for n in names[i::parts]}
    (folder / f"{stem}.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    return folder


@pytest.fixture
def made(tiny):
    torch.manual_seed(0)
    model = DriveWam(tiny).eval()
    return model, theirs(tiny, model.state_dict())


def test_lingbot_names_load_whole_or_sharded_and_give_the_same_weights(tiny, made, tmp_path):
    model, state = made
    save_file(state, tmp_path / "one.safetensors")
    folder = shard(state, tmp_path / "sharded")
    for path in (
        tmp_path / "one.safetensors",
        folder,
        folder / "diffusion_pytorch_model.safetensors.index.json",
    ):
        found = mapped(tiny, "lingbot", path)
        assert (
            found.initialised == []
            and all(n.startswith("condition_embedder_action.text_embedder.") for n in found.unused)
            and len(found.unused) == 4
        )
        filled = materialize(DriveWam, tiny, found.weights)
        got = filled.state_dict()
        assert got.keys() == model.state_dict().keys()
        assert all(torch.equal(got[name], value) for name, value in model.state_dict().items())
        assert not any(t.is_meta for t in [*filled.parameters(), *filled.buffers()])
        assert torch.equal(
            filled.condition_embedder.frequencies, model.condition_embedder.frequencies
        )


def test_names_that_the_release_may_use_are_options(tiny, made, tmp_path):
    model, state = made
    swap = lambda n: (
        n.replace(".attn_ego.", ".attn3.")
        .replace("norm_ego", "norm4")
        .replace("ego_embedder", "ego_mlp")
    )
    mlps = lambda n: (
        n.replace("linear_1", "0").replace("linear_2", "2")
        if n.split(".")[0] in ("action_embedder", "action_proj_out", "ego_embedder")
        else n
    )
    save_file({swap(mlps(n)): v for n, v in state.items()}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"unknown blocks\.0\.attn3\.to_q\.weight"):
        mapped(tiny, "lingbot", tmp_path / "x.safetensors")
    names = Names.parse("ego_attention=attn3,ego_norm=norm4,ego_embedder=ego_mlp,mlp=0/2")
    got = mapped(tiny, "lingbot", tmp_path / "x.safetensors", names).weights.all()
    assert all(torch.equal(got[name], value) for name, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match="ego_atention"):
        Names.parse("ego_atention=attn3")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.pop("blocks.3.attn1.norm_q.weight"), ["missing blocks.3.attn1.norm_q.weight"]),
        (
            lambda s: s.update(
                {"blocks.3.attn9.to_q.weight": torch.zeros(1), "rope.x": torch.zeros(1)}
            ),
            ["unknown blocks.3.attn9.to_q.weight", "unknown rope.x"],
        ),
        (
            lambda s: s.update({"blocks.6.norm2.bias": torch.zeros(128)}),
            ["unknown blocks.6.norm2.bias"],
        ),
        (
            lambda s: s.update({"proj_out.bias": torch.zeros(95)}),
            ["proj_out.bias: shape (95,), wanted (96,)"],
        ),
        (
            lambda s: s.update({"action_embedder.weight": torch.zeros(128, 15)}),
            ["unknown action_embedder.weight", "single layer"],
        ),
        (lambda s: s.pop("blocks.0.attn_ego.to_k.bias"), ["missing blocks.0.attn_ego.to_k.bias"]),
    ],
)
def test_every_tensor_that_does_not_fit_is_named(tiny, made, tmp_path, change, words):
    state = made[1]
    change(state)
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as caught:
        mapped(tiny, "lingbot", tmp_path / "x.safetensors")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_files_that_are_not_whole_are_refused(tiny, made, tmp_path):
    folder = shard(made[1], tmp_path / "x")
    index = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
    moved = dict(index["weight_map"])
    moved["proj_out.bias"] = next(f for f in moved.values() if f != moved["proj_out.bias"])
    path = folder / "wrong.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": moved}))
    with pytest.raises(CheckpointError, match="disagree on proj_out.bias"):
        mapped(tiny, "lingbot", path)
    first = folder / "diffusion_pytorch_model-00001-of-00003.safetensors"
    first.write_bytes(first.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="00001-of-00003.safetensors: not a complete"):
        mapped(tiny, "lingbot", folder)
    first.unlink()
    with pytest.raises(CheckpointError, match="00001-of-00003"):
        mapped(tiny, "lingbot", folder)
    with pytest.raises(CheckpointError, match="no such file"):
        mapped(tiny, "lingbot", tmp_path / "absent.safetensors")


def wan_counterpart(config):
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=config.patch,
        num_attention_heads=config.heads,
        attention_head_dim=config.head_dim,
        in_channels=config.latent.channels,
        out_channels=config.latent.channels,
        text_dim=config.text.dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.layers,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=config.eps,
        rope_max_seq_len=64,
    ).eval()


def test_a_wan_checkpoint_of_diffusers_gives_diffusers_output_and_lists_what_it_lacks(
    tiny, tmp_path
):
    """Breaks when the patch embedding's columns or the head's rows come in another order, or an
    initialised tensor is not listed."""
    torch.manual_seed(1)
    counterpart = wan_counterpart(tiny)
    folder = shard(counterpart.state_dict(), tmp_path / "wan", 2)
    with pytest.raises(CheckpointError) as caught:
        mapped(tiny, "wan", folder)
    for name in (
        "action_embedder.linear_1.weight",
        "blocks.5.attn_ego.to_v.bias",
        "condition_embedder_action.time_proj.weight",
        "ego_embedder.linear_2.bias",
    ):
        assert f"missing {name}" in str(caught.value)
    found = mapped(tiny, "wan", folder, missing="init")
    model = materialize(DriveWam, tiny, found.weights)
    state = model.state_dict()
    assert set(found.initialised) == {
        n
        for n in state
        if n.startswith(("action_", "ego_", "condition_embedder_action."))
        or "attn_ego" in n
        or "norm_ego" in n
    }
    assert torch.equal(
        state["condition_embedder_action.time_proj.weight"],
        state["condition_embedder.time_proj.weight"],
    )
    latent, text = (
        torch.randn(tiny.latent.channels, tiny.latent.height, tiny.latent.width),
        torch.randn(9, tiny.text.dim),
    )
    none = torch.zeros(tiny.heads, 0, tiny.head_dim)
    with torch.no_grad():
        wanted = counterpart(
            latent[None, :, None], torch.tensor([700.0]), text[None], return_dict=False
        )[0][0, :, 0]
        velocity, _ = model.dit(
            patchify(tiny, latent),
            torch.zeros(tiny.nv),
            torch.tensor([0.7, 0.2]),
            table(tiny, video_positions(tiny, 0)),
            torch.zeros(0),
            torch.zeros(9),
            None,
            [(none, none)] * tiny.layers,
            model.context_text(text),
            model.context_ego(torch.ones(3)),
        )
    error = closeness(velocity, patchify(tiny, wanted))
    print(f"relative error {error:.1e}")
    assert error <= 1e-5
    broken = counterpart.state_dict()
    broken.pop("blocks.2.attn2.to_out.0.weight")
    with pytest.raises(CheckpointError, match=r"missing blocks\.2\.attn2\.to_out\.0\.weight$"):
        mapped(tiny, "wan", shard(broken, tmp_path / "broken", 1), missing="init")


def test_full_width_with_two_layers_is_read_from_bf16_shards(tmp_path):
    """Every tensor is filled with its own number, so that a misplaced one shows."""
    config = dataclasses.replace(load(ROOT / "configs/model/drivewam-5b.yaml"), layers=2)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in DriveWam(config).state_dict().items()}
    number = {name: float(i + 1) for i, name in enumerate(sorted(shapes))}
    state = {
        name: torch.full(shape, number[name], dtype=torch.bfloat16)
        for name, shape in shapes.items()
    }
    # LingBot-VA: 3072 wide, 192 numbers per patch, 30 action channels, 4096 text channels, 14336 in
    # the feed-forward.
    assert state["patch_embedding_mlp.weight"].shape == (3072, 192) and state[
        "condition_embedder.text_embedder.linear_1.weight"
    ].shape == (3072, 4096)
    assert state["blocks.1.ffn.net.0.proj.weight"].shape == (14336, 3072) and state[
        "condition_embedder_action.time_proj.weight"
    ].shape == (18432, 3072)
    state["proj_out.bias"] = (
        torch.arange(192).view(48, 2, 2).permute(1, 2, 0).flatten().to(torch.bfloat16)
    )
    folder = shard(state, tmp_path / "wide", 2)
    del state
    weights = mapped(config, "lingbot", folder).weights
    assert weights.shapes == shapes and torch.equal(
        weights.read("proj_out.bias"), torch.arange(192.0)
    )
    for name in shapes.keys() - {"proj_out.bias"}:
        value, wanted = weights.read(name), torch.tensor(number[name], dtype=torch.bfloat16).float()
        assert (
            value.shape == shapes[name]
            and value.dtype == torch.float32
            and value.flatten()[0] == wanted
            and value.flatten()[-1] == wanted
        ), name


def test_an_export_from_lingbot_names_needs_what_the_checkpoint_lacks_and_holds_its_weights(
    tiny, tmp_path
):
    """Breaks when a mapped weight is lost between the checkpoint and the engines, or the manifest
    does not list the unused tensors."""
    config = dataclasses.replace(small_model(tiny), layers=2)
    torch.manual_seed(3)
    model = DriveWam(config).eval()
    save_file(theirs(config, model.state_dict()), tmp_path / "x.safetensors")
    spec, beside = f"lingbot:{tmp_path / 'x.safetensors'}", tmp_path / "beside"
    with pytest.raises(ExportError, match="--beside"):
        export(config, spec, tmp_path / "out", "portable-f32")
    beside.mkdir()
    save_file(
        {name: torch.randn(4, tiny.text.dim) for name in tiny.text.commands},
        beside / "commands.safetensors",
    )
    (beside / "normalisation.yaml").write_text(
        yaml.safe_dump(
            {"action": {"q01": [0.0, -0.1, -0.1], "q99": [1.0, 0.1, 0.1], "epsilon": 1e-6}}
        )
    )
    export(config, spec, tmp_path / "out", "portable-f32", Mapping(beside), vae="random:0")
    manifest = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())
    assert set(manifest["graphs"]) == {
        "vae_encode_first",
        "vae_encode",
        "context_text",
        "context_ego",
        "dit",
    }
    assert manifest["training"]["weights"] == {
        "kind": "lingbot",
        "files": {"x.safetensors": sha256(tmp_path / "x.safetensors")},
    }
    assert manifest["schedule"]["video"]["shift"] == 5.0
    assert manifest["training"]["initialised"] == [] and len(manifest["training"]["unused"]) == 4
    exported = load_file(tmp_path / "out/dit.safetensors") | load_file(
        tmp_path / "out/context.safetensors"
    )
    assert all(torch.equal(exported[name], value) for name, value in model.state_dict().items())
