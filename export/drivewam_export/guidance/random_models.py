"""Small models of the real classes for tests and fixtures.

Their random weights are large enough for every part to matter.
"""

import torch
from transformers import (
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    UMT5Config,
    UMT5EncoderModel,
)

IMAGE, START, END, STOP, VOCABULARY = 90, 91, 92, 95, 97


def randomize(model, seed: int):
    """Fills `model` with weights that preserve the scale of products, and with non-trivial norms
    and biases. With the classes' own small weights attention is nearly uniform, and a wrong
    position would not show."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1 and not any(part in name for part in ("embed", "shared", "relative")):
                p.copy_(torch.randn(p.shape, generator=g) * 1.5 / p[0].numel() ** 0.5)
            elif p.dim() > 1:
                p.copy_(torch.randn(p.shape, generator=g))
            else:
                p.copy_(
                    torch.randn(p.shape, generator=g) * 0.2
                    + (0.0 if name.endswith("bias") else 1.0)
                )
    return model.eval()


def vlm(seed: int = 0, tied: bool = False) -> Qwen3VLForConditionalGeneration:
    """Three layers of 4 heads over 2 key heads, two deepstack levels, uneven rope sections; patches
    of 4 pixels, merged 2 x 2."""
    text = dict(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 100.0,
            "mrope_section": [5, 2, 1],
            "mrope_interleaved": True,
        },
    )
    visual = dict(
        depth=3,
        hidden_size=24,
        intermediate_size=40,
        num_heads=3,
        patch_size=4,
        temporal_patch_size=2,
        spatial_merge_size=2,
        out_hidden_size=32,
        num_position_embeddings=25,
        deepstack_visual_indexes=[0, 2],
    )
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=visual,
        image_token_id=IMAGE,
        video_token_id=93,
        vision_start_token_id=START,
        vision_end_token_id=END,
        tie_word_embeddings=tied,
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = STOP
    return randomize(model, seed)


def encoder(seed: int = 0, width: int = 32, calm: bool = False) -> UMT5EncoderModel:
    """Two layers; far differences share a bucket, so both halves of the bucket rule are used.
    `width`: Dt. `calm`: smaller queries, because the class does not scale scores, and smaller
    factors in the feed-forward. Otherwise rounding the weights to f16 moves an output by 3e-2 of
    the root mean square."""
    config = UMT5Config(
        vocab_size=80,
        d_model=width,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
    )
    model = randomize(UMT5EncoderModel(config), seed)
    if calm:
        for block in model.encoder.block:
            attention, feed = block.layer[0].SelfAttention, block.layer[1].DenseReluDense
            attention.q.weight.data /= config.d_kv
            for factor in (feed.wi_0, feed.wi_1):
                factor.weight.data /= 1.5
    return model
