"""The counts of runtime/core/src/cost, whose tests have the same numbers. Here PyTorch counts them;
there formulas compute them.
"""

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    UMT5Config,
    UMT5EncoderModel,
)

from conftest import ROOT
from drivewam_export import config as configs
from drivewam_export.guidance import random_models
from drivewam_export.model import DriveWam
from drivewam_export.onnx_graphs.graphs import ContextEgo, ContextText, Dit, belongs, dit_inputs
from drivewam_export.onnx_graphs.precision import ISLANDS
from drivewam_export.wan_vae import WanEncoder


def flops(run) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def numbers(module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_meta(config) -> DriveWam:
    """The model without memory: shapes only."""
    with torch.device("meta"):
        model = DriveWam(config)
    for module in model.modules():
        for name, value in list(module.named_buffers(recurse=False)):
            setattr(module, name, value.to("meta"))
    return model


def meta_inputs(c, video: int, action: int, slots: int):
    """Inputs of `dit` without memory."""
    with torch.device("meta"):
        return dit_inputs(c, video, action, slots).values()


# Slots: four chunks and the tail. All weights of a file, and those that stay f32; operations of a
# pass of video, of actions, of both; of the contexts.
POLICIES = {
    "tiny": (
        (1_706_095, 60_672),
        (489_216, 1_536),
        172,
        (104_126_464, 29_609_984, 134_621_184),
        28_753_920,
        1_704_704,
    ),
    "drivewam-5b": (
        (5_063_885_022, 21_755_904),
        (1_164_493_824, 184_320),
        720,
        (1_143_762_714_624, 407_596_892_160, 1_554_395_234_304),
        151_768_793_088,
        1_151_354_880,
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_weights_and_operations_of_the_policy_are_those_that_the_runtime_counts(name):
    """Breaks when a layer changes its shape and the runtime's formula does not."""
    dit, context, slots, passes, text, ego = POLICIES[name]
    c = configs.load(ROOT / f"configs/model/{name}.yaml")
    model = on_meta(c)
    for file, wanted in (("dit.safetensors", dit), ("context.safetensors", context)):
        mine = {
            key: value.numel() for key, value in model.state_dict().items() if belongs(key, file)
        }
        assert (
            sum(mine.values()),
            sum(count for key, count in mine.items() if ISLANDS.fullmatch(key)),
        ) == wanted, file
    counted = [
        flops(lambda: Dit(model)(*meta_inputs(c, video, action, slots)))
        for video, action in ((c.nv, 0), (0, c.na), (c.nv, c.na))
    ]
    assert tuple(counted) == passes
    assert (
        flops(lambda: ContextText(model)(torch.empty(c.text_rows, c.text.dim, device="meta")))
        == text
    )
    assert flops(lambda: ContextEgo(model)(torch.empty(len(c.ego.features), device="meta"))) == ego


def test_wan_2_2_s_encoder_at_the_paper_s_picture():
    """Breaks when the exported encoder differs from the one whose constants the runtime has
    (cost/codec.rs)."""
    vae = AutoencoderKLWan(
        base_dim=160,
        decoder_base_dim=32,
        z_dim=48,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        temperal_downsample=[False, True, True],
        is_residual=True,
        patch_size=2,
        in_channels=12,
        out_channels=12,
        scale_factor_spatial=16,
        latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
    )
    encoder = WanEncoder(vae).to("meta")
    assert sum(value.numel() for value in encoder.state_dict().values()) == 149_632_528
    with torch.no_grad():
        latent, cache = encoder(torch.empty(1, 3, 256, 448, device="meta"), None)
    assert (
        tuple(latent.shape) == (48, 16, 28) and sum(value.numel() for value in cache) == 67_493_888
    )
    assert (
        flops(lambda: encoder(torch.empty(4, 3, 256, 448, device="meta"), cache))
        == 1_601_911_062_528
    )


def test_parameters_of_the_paper_s_guidance_models():
    """Breaks when the classes have other counts for the public configurations of Qwen3-VL-8B and of
    umT5-XXL."""
    text = dict(
        hidden_size=4096,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=12288,
        vocab_size=151936,
        tie_word_embeddings=False,
    )
    vision = dict(
        depth=27,
        hidden_size=1152,
        intermediate_size=4304,
        num_heads=16,
        patch_size=16,
        temporal_patch_size=2,
        spatial_merge_size=2,
        out_hidden_size=4096,
        deepstack_visual_indexes=[8, 16, 24],
        num_position_embeddings=2304,
    )
    umt5 = UMT5Config(
        vocab_size=256384,
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        vlm = Qwen3VLForConditionalGeneration(
            Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
        )
        encoder = UMT5EncoderModel(umt5)
    assert (numbers(vlm), numbers(vlm.model.visual)) == (8_767_123_696, 576_388_336)
    assert numbers(encoder) == 5_680_910_336
    assert (
        flops(lambda: encoder(input_ids=torch.zeros(1, 128, dtype=torch.long, device="meta")))
        == 1_191_853_424_640
    )


SMALL = {"all": 92_832, "vision": 54_048, "picture": 1_327_104, "prompt": 728_128}


def test_operations_of_a_small_vlm():
    """Breaks when an image, a prompt or a token of an answer needs other products than the runtime
    counts for the same small shape."""
    vlm = random_models.vlm()
    vlm.set_attn_implementation("eager")  # the counter does not know the CPU's fused attention
    visual, language = vlm.model.visual, vlm.model.language_model
    assert (numbers(vlm), numbers(visual)) == (SMALL["all"], SMALL["vision"])
    assert (
        flops(lambda: visual(torch.zeros(24, 96), grid_thw=torch.tensor([[1, 4, 6]])))
        == SMALL["picture"]
    )

    def last_row(rows):
        out = language(inputs_embeds=torch.zeros(1, rows, 32), use_cache=False).last_hidden_state
        vlm.lm_head(out[:, -1:])

    assert flops(lambda: last_row(10)) == SMALL["prompt"]
