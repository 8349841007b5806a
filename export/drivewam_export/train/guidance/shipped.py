"""Loads the shipped guidance models from a folder of `guidance.export`, for PyTorch."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from . import text, vlm


def load_weights(
    model: torch.nn.Module, folder: Path, files: tuple[str, ...], tied: str
) -> torch.nn.Module:
    """Fills `model` with the weights of `files`. Their tables, named after the graph, are not
    weights. `tied`: the second name of a weight that is stored once. Raises ValueError."""
    state = {
        name: value
        for file in files
        for name, value in load_file(folder / f"{file}.safetensors").items()
        if not name.startswith(f"{file}.")
    }
    missing, unknown = model.load_state_dict(state, strict=False)
    if unknown or set(missing) - {tied}:
        raise ValueError(
            f"{folder}: not the weights of the small {type(model).__name__} (missing {missing}, unknown {unknown})"
        )
    model.tie_weights()
    return model.eval()


def load_vlm(folder: Path, size: tuple[int, int]) -> tuple[vlm.BatchedVlm, Tokenizer]:
    """The VLM, for batches of images of `size` (height, width), and its tokenizer."""
    tokenizer = Tokenizer.from_file(str(folder / "vlm_tokenizer.json"))
    model = load_weights(
        vlm.make(tokenizer), folder, ("vlm_decoder", "vlm_vision"), "lm_head.weight"
    )
    return vlm.BatchedVlm(model, tokenizer, [size] * 2), tokenizer


def load_text_encoder(folder: Path, width: int) -> tuple[torch.nn.Module, Tokenizer]:
    """The text encoder, whose rows have `width` numbers, and its tokenizer."""
    tokenizer = Tokenizer.from_file(str(folder / "text_tokenizer.json"))
    return load_weights(
        text.make(tokenizer, width), folder, ("text_encode",), "encoder.embed_tokens.weight"
    ), tokenizer
