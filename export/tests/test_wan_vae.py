"""The streaming Wan VAE encoder against diffusers' whole-clip encode."""

import onnx
import onnxruntime
import pytest
import torch
import yaml

from conftest import closeness
from drivewam_export.folder import ExportError
from drivewam_export.onnx_graphs.export import write_folder
from drivewam_export.onnx_graphs.export_vae import codec_only, small_model
from drivewam_export.onnx_graphs.graphs import wan_vae_graphs
from drivewam_export.streamed import in_memory
from drivewam_export.wan_vae import WanEncoder, random_vae

WAN_2_1 = {
    "z_dim": 16,
    "is_residual": False,
    "patch_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "scale_factor_spatial": 8,
}


def clip(height, width):
    """A first frame and three chunks."""
    return torch.rand(13, 3, height, width, generator=torch.Generator().manual_seed(5)) * 2 - 1


def whole(vae, frames):
    """diffusers' normalised mean latents [Cz, 4, Hz, Wz] of the clip."""
    z = vae.encode(frames.movedim(0, 1)[None]).latent_dist.mode()[0]
    stats = lambda values: torch.tensor(values).view(-1, 1, 1, 1)
    return (z - stats(vae.config.latents_mean)) / stats(vae.config.latents_std)


CASES = {
    "Wan2.2": ({}, (64, 96)),
    "Wan2.1": (WAN_2_1, (32, 48)),
    "time halved in the first stages": (
        {"temperal_downsample": [True, True, False], "num_res_blocks": 1},
        (32, 64),
    ),
}


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_chunk_by_chunk_equals_the_whole_clip(name):
    """Breaks when a time tap, a cache, the patch order or the shortcut's channel order is wrong.
    Caches reversed in time prove it."""
    changes, size = CASES[name]
    vae, frames = random_vae(1, **changes), clip(*size)
    wanted, codec = whole(vae, frames), WanEncoder(vae).eval()
    latent, caches = codec(frames[:1], None)
    shapes, worst = [c.shape for c in caches], closeness(latent, wanted[:, 0])
    for chunk in range(3):
        part = frames[1 + 4 * chunk : 5 + 4 * chunk]
        if chunk == 1:
            wrong = closeness(
                codec(part, [c.flip(0) if len(c) > 1 else c for c in caches])[0], wanted[:, 2]
            )
        latent, caches = codec(part, caches)
        worst = max(worst, closeness(latent, wanted[:, 1 + chunk]))
        assert [c.shape for c in caches] == shapes and all(c.dim() == 4 for c in caches)
    print(f"{name}: relative difference {worst:.1e}, with caches reversed in time {wrong:.1e}")
    assert worst <= 1e-5 < wrong / 10


def test_the_exported_graphs_stream_a_clip_in_onnx_runtime_without_a_3d_convolution(tiny, tmp_path):
    """Breaks when a graph holds a Conv over three dimensions, or ONNX Runtime fed with its own
    caches drifts from diffusers."""
    vae, config = random_vae(2), small_model(tiny)
    codec = WanEncoder(vae).eval()
    out = tmp_path / "vae"
    write_folder(
        codec_only(config),
        out,
        "portable-f32",
        wan_vae_graphs(codec, config),
        {"codec.": in_memory(codec.state_dict())},
    )
    sessions = {}
    for name in ("vae_encode_first", "vae_encode"):
        graph = onnx.load(out / f"{name}.onnx", load_external_data=False).graph
        convolutions = [
            node
            for node in graph.node
            if node.op_type.startswith("Conv") and node.op_type != "ConstantOfShape"
        ]
        ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
        assert len(convolutions) > 20
        assert all(
            len(next(a.ints for a in node.attribute if a.name == "kernel_shape")) == 2
            and ranks[node.input[1]] == 4
            for node in convolutions
        )
        sessions[name] = onnxruntime.InferenceSession(
            str(out / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
    manifest = yaml.safe_load((out / "manifest.yaml").read_text())
    caches_in = [
        t for t in manifest["graphs"]["vae_encode"]["inputs"] if t["name"].startswith("cache_in.")
    ]
    caches_out = [
        t
        for t in manifest["graphs"]["vae_encode_first"]["outputs"]
        if t["name"].startswith("cache_out.")
    ]
    assert [t["shape"] for t in caches_in] == [t["shape"] for t in caches_out] and manifest[
        "graphs"
    ]["vae_encode"]["weights"] == ["vae_encode.safetensors"]
    frames = clip(64, 96)
    with torch.no_grad():
        wanted = whole(vae, frames)
    latent, *caches = sessions["vae_encode_first"].run(None, {"frames": frames[:1].numpy()})
    worst = closeness(torch.from_numpy(latent), wanted[:, 0])
    for chunk in range(3):
        inputs = {"frames": frames[1 + 4 * chunk : 5 + 4 * chunk].numpy()} | {
            f"cache_in.{i}": c for i, c in enumerate(caches)
        }
        latent, *caches = sessions["vae_encode"].run(None, inputs)
        worst = max(worst, closeness(torch.from_numpy(latent), wanted[:, 1 + chunk]))
    print(f"ONNX Runtime against diffusers: {worst:.1e}, {len(caches)} caches")
    assert worst <= 1e-5


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"temperal_downsample": [False, True, False]}, ["temperal_downsample", "1 halvings"]),
        ({"in_channels": 4}, ["in_channels", "got 4"]),
        ({"latents_mean": [0.0] * 16}, ["latents_mean", "16 numbers"]),
    ],
)
def test_a_configuration_that_cannot_stream_is_refused_by_key(changes, words):
    with pytest.raises(ExportError) as caught:
        WanEncoder(random_vae(0, **changes))
    assert all(word in str(caught.value) for word in words)


def test_a_latent_that_is_not_the_model_s_is_refused(tiny):
    with pytest.raises(ExportError, match="the model wants"):
        wan_vae_graphs(WanEncoder(random_vae(0)).eval(), tiny)
