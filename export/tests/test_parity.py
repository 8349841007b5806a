"""Parity with diffusers: the same weights in `WanTransformer3DModel` give the same output when the
action stream is unused and attention is full.
"""

import dataclasses

import torch

from conftest import ROOT, closeness
from drivewam_export.config import load
from drivewam_export.model import DriveWam
from drivewam_export.packed import patchify
from drivewam_export.rope import table, video_positions

NAMES = {
    "patch_embedding_mlp.weight": "patch_embedding.weight",
    "patch_embedding_mlp.bias": "patch_embedding.bias",
}


def diffusers_counterpart(config, model):
    """A `WanTransformer3DModel` with `model`'s weights: names mapped, the head's columns from
    (channel, row, column) to diffusers' order."""
    from diffusers import WanTransformer3DModel

    counterpart = WanTransformer3DModel(
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
    state = model.state_dict()
    target = counterpart.state_dict()
    _, ph, pw = config.patch
    order = (
        torch.arange(config.video_channels)
        .view(config.latent.channels, ph, pw)
        .permute(1, 2, 0)
        .flatten()
    )
    for name in target:
        value = state[{v: k for k, v in NAMES.items()}.get(name, name)]
        if name in ("proj_out.weight", "proj_out.bias"):
            value = value[order]
        target[name] = value.reshape(target[name].shape)
    counterpart.load_state_dict(target)
    return counterpart


def difference(config) -> float:
    torch.manual_seed(0)
    model = DriveWam(config).eval()
    for block in model.blocks:  # DriveWAM's own ego branch: its output is zero here
        torch.nn.init.zeros_(block.attn_ego.to_out[0].weight)
        torch.nn.init.zeros_(block.attn_ego.to_out[0].bias)
    latent = torch.randn(config.latent.channels, config.latent.height, config.latent.width)
    text = torch.randn(9, config.text.dim)
    with torch.no_grad():
        counterpart = diffusers_counterpart(config, model)
        flow_time = torch.tensor([0.7, 0.2])
        wanted = counterpart(
            latent[None, :, None], flow_time[:1] * 1000, text[None], return_dict=False
        )[0][0, :, 0]
        rows = patchify(config, latent)
        none = torch.zeros(config.heads, 0, config.head_dim)
        velocity, _ = model.dit(
            rows,
            torch.zeros(config.nv),
            flow_time,
            table(config, video_positions(config, 0)),
            torch.zeros(0),
            torch.zeros(9),
            None,
            [(none, none)] * config.layers,
            model.context_text(text),
            model.context_ego(torch.zeros(3)),
        )
        return closeness(velocity, patchify(config, wanted))


def test_parity_at_tiny_size(tiny):
    error = difference(tiny)
    print(f"relative error {error:.1e}")
    assert error <= 1e-5


def test_parity_at_full_width_with_two_layers():
    config = load(ROOT / "configs/model/drivewam-5b.yaml")
    config = dataclasses.replace(
        config, layers=2, latent=dataclasses.replace(config.latent, height=4, width=6)
    )
    error = difference(config)
    print(f"relative error {error:.1e}")
    assert error <= 1e-5
