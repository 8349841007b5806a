"""Reference answers of `transformers` for the runtime's tests.

They are stored as `DIR.golden.safetensors` beside a folder DIR.

| tensor | meaning |
|---|---|
| `I/ids` i64 | prompt I, one image token for each image |
| `I/patches` f32 `[images, P, ...]` | its images, as the vision graph takes them |
| `I/tokens` i64 | the greedy answer of `Qwen3VLForConditionalGeneration.generate` |
| `text.I/ids` i64 | the token ids of text I |
| `text.I/rows` f32 `[R, Dt]` | the embedding of text I by `UMT5EncoderModel` |
"""

from __future__ import annotations

from typing import Iterable

import numpy as np
import torch

from .generate import expand, patch_rows


def answers(
    model, prompts: Iterable[tuple[list[int], list[np.ndarray]]], cap: int, stop: int | list[int]
) -> dict[str, torch.Tensor]:
    """Greedy answers of at most `cap` tokens. `prompts`: ids, and normalised images [3, H, W]."""
    out, vision, image = {}, model.config.vision_config, model.config.image_token_id
    for i, (ids, pictures) in enumerate(prompts):
        grids = [
            [1, *(length // vision.patch_size for length in picture.shape[1:])]
            for picture in pictures
        ]
        whole = expand(
            ids,
            image,
            [height * width // vision.spatial_merge_size**2 for _, height, width in grids],
        )
        inputs = {
            "input_ids": torch.tensor([whole]),
            "attention_mask": torch.ones(1, len(whole), dtype=torch.long),
        }
        patches = [
            patch_rows(
                picture, vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size
            )
            for picture in pictures
        ]
        if patches:
            inputs |= {
                "pixel_values": torch.from_numpy(np.concatenate(patches)),
                "image_grid_thw": torch.tensor(grids),
                "mm_token_type_ids": (inputs["input_ids"] == image).long(),
            }
        tokens = model.generate(
            **inputs, do_sample=False, max_new_tokens=cap, eos_token_id=stop, pad_token_id=0
        )[0, len(whole) :]
        out |= {f"{i}/ids": torch.tensor(ids), f"{i}/tokens": tokens.clone()}
        out[f"{i}/patches"] = torch.from_numpy(np.stack(patches)) if patches else torch.zeros(0)
    return out


def texts(model, rows: int) -> dict[str, torch.Tensor]:
    """Texts of 1 to `rows` tokens, and their embeddings."""
    out = {}
    for i, count in enumerate((1, 2, 7, rows - 1, rows)):
        ids = torch.randint(
            2, model.config.vocab_size, (count,), generator=torch.Generator().manual_seed(i)
        )
        with torch.no_grad():
            out |= {
                f"text.{i}/ids": ids,
                f"text.{i}/rows": model(input_ids=ids[None]).last_hidden_state[0].clone(),
            }
    return out
