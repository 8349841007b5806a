"""Answers of a language model by our runtime beside the loops that people run today, taking turns: `python -m drivewam_export.guidance.bench --out DIR`

A model of random weights of the class of Qwen3-VL, the same prompt (two pictures and some text) and the same number of greedy tokens: ours on `rten` and on ONNX
Runtime, the loop of `generate.py` on ONNX Runtime, and `transformers.generate`. Turns and ratios are those of `drivewam_export.bench`; `ours, ort, again` is the noise floor. All must say the same tokens.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from ..bench import Ours, spread, turns
from .export import export
from .fixture import tokenizer
from .generate import Guide, expand
from .join import join
from .random_models import encoder
from .random_models import spread as randomise

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
    made = randomise(Qwen3VLForConditionalGeneration(config), seed)
    with torch.no_grad():
        made.lm_head.weight[1994:] = 0  # the end is never said
        made.lm_head.weight[1990:1994] = 0
    made.generation_config.eos_token_id = 1999
    return made


class Peer:
    """A loop in Python, with the face of `Ours`."""

    def __init__(self, answer):
        self.answer = answer

    def drive(self, count: int) -> list[float]:
        took = []
        for _ in range(count):
            since = time.perf_counter()
            said = self.answer()
            took.append((time.perf_counter() - since) * 1e3)
        self.last = {"said": said}
        return took

    def close(self):
        pass


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
    whole = expand(ids, facts.image_token_id, [rows] * 2)
    asked = {
        "input_ids": torch.tensor([whole]), "attention_mask": torch.ones(1, len(whole), dtype=torch.long),
        "pixel_values": torch.from_numpy(np.concatenate([patches, patches])), "image_grid_thw": torch.tensor([[1, SIZE[0] // 8, SIZE[1] // 8]] * 2),
    }
    asked["mm_token_type_ids"] = (asked["input_ids"] == facts.image_token_id).long()
    flags = ("--guidance", str(TOKENS), "--prompt", str(WORDS))
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))
    sets = lambda kind: [f"engine.folder={folder.absolute()}", f"engine.kind={kind}"]
    ours = lambda kind: Ours(args.program, Path("configs/tiny.yaml"), args.threads, sets(kind), {"ORT_DYLIB_PATH": str(library)}, flags)
    generate = lambda: speaker.generate(**asked, do_sample=False, max_new_tokens=TOKENS, eos_token_id=None, pad_token_id=0)[0, len(whole):].tolist()
    contenders = {"ours, ort": ours("ort"), "ours, ort, again": ours("ort"), "ours, rten": ours("rten")}
    contenders["Python and ONNX Runtime"] = Peer(lambda: guide.generate(ids, [(patches, *SIZE)] * 2, TOKENS).tokens)
    contenders["transformers"] = Peer(generate)
    for contender in contenders.values():
        contender.drive(1)
    said = {who: contender.last["said"] for who, contender in contenders.items()}
    if len({tuple(tokens) for tokens in said.values()}) != 1:
        raise SystemExit(f"the contenders do not say the same: {said}")
    took = turns(contenders, args.rounds, 1, "answers")
    for contender in contenders.values():
        contender.close()
    million = sum(p.numel() for p in speaker.parameters()) / 1e6
    report = {"rounds": args.rounds, "threads": args.threads, "tokens": TOKENS, "prompt_rows": len(whole), "parameters_million": million}
    report["contenders"] = {who: {"ms": spread(ms), "time_over_ours_ort": spread(ms / took["ours, ort"])} for who, ms in took.items()}
    lines = [f"{million:.0f} M parameters, f32, {args.threads} thread(s), {len(whole)} rows of prompt, {TOKENS} tokens, {args.rounds} rounds; all say the same tokens.", ""]
    lines += ["| contender | ms an answer | tokens/s | time / ours, ort | nine rounds of ten |", "|---|---|---|---|---|"]
    for who, entry in report["contenders"].items():
        ms, ratio = entry["ms"]["median"], entry["time_over_ours_ort"]
        lines.append(f"| {who} | {ms:.0f} | {TOKENS / ms * 1e3:.1f} | {ratio['median']:.2f} | {ratio['low']:.2f} to {ratio['high']:.2f} |")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "guidance.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "guidance.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
