"""Answers of a language model by our runtime beside the loops that people run today, taking turns: `python -m drivewam_export.guidance.bench --out FILE`

A model of random weights of the class of Qwen3-VL, the same prompt (two pictures and some text) and the same number of greedy tokens: ours on `rten` and on ONNX
Runtime, the loop of `generate.py` on ONNX Runtime, and `transformers.generate`. Every round each contender answers once, in an order drawn anew; a ratio
is the median over rounds of (peer's time / ours), with the range that nine rounds of ten lie in; `ours again` is the noise floor. All must say the same tokens.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from ..bench import Ours
from .export import export
from .fixture import tokenizer
from .generate import Guide
from .join import join
from .random_models import encoder, spread

SIZE, TOKENS, WORDS = (64, 112), 32, 64


def model(seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """About 30 M parameters: as wide and deep as makes a token's weights larger than a cache."""
    text = dict(
        vocab_size=2000, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4, head_dim=64,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [12, 10, 10], "mrope_interleaved": True},
    )
    visual = dict(
        depth=3, hidden_size=192, intermediate_size=768, num_heads=4, patch_size=8, temporal_patch_size=2, spatial_merge_size=2, out_hidden_size=512,
        num_position_embeddings=64, deepstack_visual_indexes=[0],
    )
    config = Qwen3VLConfig(
        text_config=text, vision_config=visual, image_token_id=1990, video_token_id=1991, vision_start_token_id=1992, vision_end_token_id=1993,
        tie_word_embeddings=False,
    )
    made = spread(Qwen3VLForConditionalGeneration(config), seed)
    with torch.no_grad():
        made.lm_head.weight[1994:] = 0  # the end is never said
        made.lm_head.weight[1990:1994] = 0
    made.generation_config.eos_token_id = 1999
    return made


def noise(count: int) -> np.ndarray:
    """As tools/drivewam/src/bench/guidance.rs has it."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(2654435761)
    return (x >> np.uint32(8)).astype(np.float32) / np.float32(8388608.0) - np.float32(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for guidance.json and guidance.md")
    parser.add_argument("--program", type=Path, default=Path("target/release/drivewam"))
    parser.add_argument("--work", type=Path, default=Path("target/bench"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    speaker, reader, folder, plain = model(), encoder(0, 64), args.work / "guided", args.work / "guided-models"
    args.work.mkdir(parents=True, exist_ok=True)
    files = {"vlm": args.work / "vlm.json", "text": args.work / "text.json"}
    tokenizer(files["vlm"], 2000, {"<|image_pad|>": 1990, "<|vision_start|>": 1992, "<|vision_end|>": 1993})
    tokenizer(files["text"], reader.config.vocab_size, {"<pad>": reader.config.pad_token_id, "</s>": reader.config.eos_token_id})
    export(speaker, reader, plain, [SIZE], 16, files)
    join(Path("engines/tiny"), plain, folder)

    facts = speaker.config
    ids = [facts.vision_start_token_id, facts.image_token_id, facts.vision_end_token_id] * 2 + list(range(WORDS))
    rows = (SIZE[0] // 16) * (SIZE[1] // 16)
    patches = noise(rows * 4 * 3 * 2 * 64).reshape(rows * 4, -1)
    guide = Guide(plain)
    whole = [token for id in ids for token in ([id] * rows if id == facts.image_token_id else [id])]
    asked = {
        "input_ids": torch.tensor([whole]), "attention_mask": torch.ones(1, len(whole), dtype=torch.long),
        "pixel_values": torch.from_numpy(np.concatenate([patches, patches])), "image_grid_thw": torch.tensor([[1, SIZE[0] // 8, SIZE[1] // 8]] * 2),
    }
    asked["mm_token_type_ids"] = (asked["input_ids"] == facts.image_token_id).long()
    flags = ("--guidance", str(TOKENS), "--prompt", str(WORDS))
    library = glob.glob(".venv/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*")[0]
    ours = lambda kind: Ours(args.program, Path("configs/tiny.yaml"), args.threads, [f"engine.folder={folder.absolute()}", f"engine.kind={kind}"], {"ORT_DYLIB_PATH": os.path.abspath(library)}, flags)
    said = {}

    def timed(name, answer):
        def run() -> float:
            since = time.perf_counter()
            said[name] = answer()
            return (time.perf_counter() - since) * 1e3
        return run

    def program(name, process):
        def run() -> float:
            (took,) = process.drive(1)
            said[name] = process.last["said"]
            return took
        return run

    contenders = {"ours, ort": program("ours, ort", ours("ort")), "ours, ort, again": program("ours, ort, again", ours("ort")), "ours, rten": program("ours, rten", ours("rten"))}
    contenders["Python and ONNX Runtime"] = timed("Python and ONNX Runtime", lambda: guide.generate(ids, [(patches, *SIZE)] * 2, TOKENS).tokens)
    contenders["transformers"] = timed("transformers", lambda: speaker.generate(**asked, do_sample=False, max_new_tokens=TOKENS, eos_token_id=None, pad_token_id=0)[0, len(whole):].tolist())
    for run in contenders.values():
        run()
    if len({tuple(tokens) for tokens in said.values()}) != 1:
        raise SystemExit(f"the contenders do not say the same: {said}")
    took = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name in random.sample(sorted(contenders), len(contenders)):
            took[name].append(contenders[name]())
    report = {"rounds": args.rounds, "threads": args.threads, "tokens": TOKENS, "prompt_rows": len(whole), "parameters": sum(p.numel() for p in speaker.parameters()), "contenders": {}}
    lines = ["| contender | ms an answer | tokens/s | time / ours, ort | nine rounds of ten |", "|---|---|---|---|---|"]
    for name, values in took.items():
        ratios = sorted(a / b for a, b in zip(values, took["ours, ort"]))
        cut = max(1, len(ratios) // 20)
        entry = {"ms": float(np.median(values)), "tokens_per_s": TOKENS / np.median(values) * 1e3, "ratio": float(np.median(ratios)), "range": [ratios[cut - 1], ratios[-cut]]}
        report["contenders"][name] = entry
        lines.append(f"| {name} | {entry['ms']:.0f} | {entry['tokens_per_s']:.1f} | {entry['ratio']:.2f} | {entry['range'][0]:.2f} to {entry['range'][1]:.2f} |")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "guidance.json").write_text(json.dumps(report, indent=1) + "\n")
    head = f"{report['parameters'] / 1e6:.0f} M parameters, f32, {args.threads} thread(s), {len(whole)} rows of prompt, {TOKENS} tokens; all say the same tokens.\n\n"
    (args.out / "guidance.md").write_text(head + "\n".join(lines) + "\n")
    print(head + "\n".join(lines))


if __name__ == "__main__":
    main()
