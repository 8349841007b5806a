"""`python -m drivewam_export.guidance.fixture --out DIR`

A folder with random weights for the runtime's tests: the small policy with longer texts, a language model of three layers, a text encoder; and beside it
`DIR.golden.safetensors`: prompts with pictures and what `transformers` says to them, token by token. `--precision f16|bf16` writes the language model and
the encoder in half; the policy and the answers are f32 all the same.

| tensor | meaning |
|---|---|
| `I/ids` i64 | prompt I, one image token for each picture |
| `I/patches` f32 `[pictures, P, ...]` | its pictures, as the vision graph takes them |
| `I/tokens` i64 | the greedy answer of `Qwen3VLForConditionalGeneration.generate` |
| `text.I/ids` i64, `text.I/rows` f32 `[R, Dt]` | text I, and the rows that `UMT5EncoderModel` makes of it |
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from .. import config as configs
from ..onnx_graphs.export import export as export_policy
from ..onnx_graphs.precision import F32, PRECISIONS, Precision
from .export import export
from .generate import expand, patch_rows
from .join import join
from .random_models import END, IMAGE, START, STOP, VOCABULARY, encoder, vlm

SIZE = (32, 48)  # pixels of a picture
PROMPTS, CAP, ROWS = 54, 20, 64


def tokenizer(path: Path, vocabulary: int, special: dict[str, int]) -> None:
    """A `tokenizer.json` of syllables between blanks, whose numbers are those of the random models."""
    syllables = iter(a + b for a in "bdfgklmnprstvz" for b in "aeiou")
    named = {number: word for word, number in special.items()}
    words = [named.get(number) or next(syllables, f"<{number}>") for number in range(vocabulary)]
    added = [
        {"id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for number, word in sorted(named.items())
    ]
    path.write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {word: number for number, word in enumerate(words)}, "unk_token": words[0]},
    }))


def prompts(model) -> dict[str, torch.Tensor]:
    """Prompts of none to two pictures between random text, and greedy answers."""
    out = {}
    for i in range(PROMPTS):
        g = np.random.default_rng(i)
        words = lambda most: g.integers(0, IMAGE, int(g.integers(1, most))).tolist()
        ids, patches = words(12), []
        for _ in range(i % 3):
            ids += [START, IMAGE, END, *words(7)]
            patches.append(patch_rows(g.standard_normal((3, *SIZE)), 4, 2, 2))
        rows = (SIZE[0] // 8) * (SIZE[1] // 8)
        whole = expand(ids, IMAGE, [rows] * (i % 3))
        asked = {"input_ids": torch.tensor([whole]), "attention_mask": torch.ones(1, len(whole), dtype=torch.long)}
        if patches:
            asked |= {
                "pixel_values": torch.from_numpy(np.concatenate(patches)), "image_grid_thw": torch.tensor([[1, SIZE[0] // 4, SIZE[1] // 4]] * len(patches)),
                "mm_token_type_ids": (asked["input_ids"] == IMAGE).long(),
            }
        tokens = model.generate(**asked, do_sample=False, max_new_tokens=CAP, eos_token_id=STOP, pad_token_id=0)[0, len(whole):]
        out |= {f"{i}/ids": torch.tensor(ids), f"{i}/tokens": tokens.clone()}
        out[f"{i}/patches"] = torch.from_numpy(np.stack(patches)) if patches else torch.zeros(0)
    return out


def texts(model) -> dict[str, torch.Tensor]:
    """Texts of 1 to ROWS tokens, and their rows."""
    out = {}
    for i, count in enumerate((1, 2, 7, ROWS - 1, ROWS)):
        ids = torch.randint(2, model.config.vocab_size, (count,), generator=torch.Generator().manual_seed(i))
        with torch.no_grad():
            out |= {f"text.{i}/ids": ids, f"text.{i}/rows": model(input_ids=ids[None]).last_hidden_state[0].clone()}
    return out


def make(out: Path, precision: Precision = F32) -> None:
    config = configs.load(Path(__file__).resolve().parents[3] / "configs/model/tiny.yaml")
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, max_rows=ROWS, padded_rows=2 * ROWS))
    speaker, reader = vlm(0), encoder(0, config.text.dim, calm=precision is not F32)
    with tempfile.TemporaryDirectory() as scratch:
        policy, guidance = Path(scratch) / "policy", Path(scratch) / "guidance"
        export_policy(config, "random:0", policy)
        special = {"<|image_pad|>": IMAGE, "<|vision_start|>": START, "<|vision_end|>": END, "<|im_start|>": 94, "<|im_end|>": STOP}
        files = {"vlm": Path(scratch) / "vlm.json", "text": Path(scratch) / "text.json"}
        tokenizer(files["vlm"], VOCABULARY, special)
        tokenizer(files["text"], reader.config.vocab_size, {"<pad>": reader.config.pad_token_id, "</s>": reader.config.eos_token_id})
        export(speaker, reader, guidance, [SIZE], ROWS, files, precision=precision)
        # The folder last: it is what says that the fixture is there.
        save_file(prompts(speaker) | texts(reader), out.with_name(out.name + ".golden.safetensors"))
        join(policy, guidance, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, default="f32")
    args = parser.parse_args()
    make(args.out, PRECISIONS[args.precision])


if __name__ == "__main__":
    main()
