"""Writes a folder with random weights for the runtime's tests of guidance.

`python -m drivewam_export.guidance.fixture --out DIR`

It has the small policy with longer texts, a language model of three layers and a text encoder.
Writes the results of `transformers` beside it, `DIR.golden.safetensors` (golden.py). `--precision
f16|bf16` writes the language model and the encoder in half; policy and golden stay f32.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from .. import config as configs
from ..onnx_graphs.export import export as export_policy
from ..onnx_graphs.precision import F32, PRECISIONS, Precision
from .export import export
from .golden import answers, texts
from .join import join
from .random_models import END, IMAGE, START, STOP, VOCABULARY, encoder, vlm

SIZE = (32, 48)  # of an image, in pixels
PROMPTS, MAX_NEW_TOKENS, ROWS = 54, 20, 64


def write_tokenizer(path: Path, vocabulary: int, special: dict[str, int]) -> None:
    """Writes a `tokenizer.json` of syllables separated by blanks, with the token numbers of the
    random models."""
    syllables = iter(a + b for a in "bdfgklmnprstvz" for b in "aeiou")
    named = {number: word for word, number in special.items()}
    words = [named.get(number) or next(syllables, f"<{number}>") for number in range(vocabulary)]
    added = [
        {
            "id": number,
            "content": word,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, word in sorted(named.items())
    ]
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": added,
                "pre_tokenizer": {"type": "WhitespaceSplit"},
                "model": {
                    "type": "WordLevel",
                    "vocab": {word: number for number, word in enumerate(words)},
                    "unk_token": words[0],
                },
            }
        )
    )


def prompts():
    """Prompts of random text with none to two images."""
    for i in range(PROMPTS):
        g = np.random.default_rng(i)
        words = lambda most: g.integers(0, IMAGE, int(g.integers(1, most))).tolist()
        ids, pictures = words(12), []
        for _ in range(i % 3):
            ids += [START, IMAGE, END, *words(7)]
            pictures.append(g.standard_normal((3, *SIZE)))
        yield ids, pictures


def make(out: Path, precision: Precision = F32) -> None:
    config = configs.load(Path(__file__).resolve().parents[3] / "configs/model/tiny.yaml")
    config = dataclasses.replace(
        config, text=dataclasses.replace(config.text, max_rows=ROWS, padded_rows=2 * ROWS)
    )
    vlm_model, text_encoder = vlm(0), encoder(0, config.text.dim, calm=precision is not F32)
    with tempfile.TemporaryDirectory() as scratch:
        policy, guidance = Path(scratch) / "policy", Path(scratch) / "guidance"
        export_policy(config, "random:0", policy)
        special = {
            "<|image_pad|>": IMAGE,
            "<|vision_start|>": START,
            "<|vision_end|>": END,
            "<|im_start|>": 94,
            "<|im_end|>": STOP,
        }
        files = {"vlm": Path(scratch) / "vlm.json", "text": Path(scratch) / "text.json"}
        write_tokenizer(files["vlm"], VOCABULARY, special)
        write_tokenizer(
            files["text"],
            text_encoder.config.vocab_size,
            {"<pad>": text_encoder.config.pad_token_id, "</s>": text_encoder.config.eos_token_id},
        )
        export(vlm_model, text_encoder, guidance, [SIZE], ROWS, files, precision=precision)
        # The folder comes last: its presence means that the fixture is complete.
        save_file(
            answers(vlm_model, prompts(), MAX_NEW_TOKENS, STOP) | texts(text_encoder, ROWS),
            out.with_name(out.name + ".golden.safetensors"),
        )
        join(policy, guidance, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, default="f32")
    args = parser.parse_args()
    make(args.out, PRECISIONS[args.precision])


if __name__ == "__main__":
    main()
