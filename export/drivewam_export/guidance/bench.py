"""Compares a language model's answers in the runtime with the loops that people run today.

`python -m drivewam_export.guidance.bench --out DIR`

Models of Qwen3-VL's class with random weights: one whose weights no cache holds and one of the
shipped size. Every contender gets the same prompt (two images and some text) and decodes the same
number of greedy tokens: ours on `rten` and on ONNX Runtime; the loop of `generate.py` on ONNX
Runtime, with keys and values written in place, and with each token's appended to the old ones; the
usual export of the class (past_present.py); and `transformers.generate`. Rounds and ratios are
those of `drivewam_export.bench`; `ours, ort, again` is the noise floor. All must return the same
tokens. The report also has the time of a token after the prompt, and the time to read the decoder's
weights once.
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

from ..bench import Ours, interleave, quantiles
from ..bench_report import wrapped
from .export import export
from .fixture import write_tokenizer
from .generate import Memory, VlmGuidance, expand
from .join import join
from .past_present import PastPresent
from .random_models import encoder, randomize

SIZE, TOKENS, WORDS = (64, 112), 32, 64


# Of the language model: width, MLP width, layers, heads; of the vision tower: layers, width.
SIZES = {"no cache holds": (512, 1536, 8, 8, 3, 192), "as shipped": (128, 352, 4, 4, 4, 96)}


def model(size: tuple[int, ...], seed: int = 0) -> Qwen3VLForConditionalGeneration:
    width, hidden, layers, heads, depth, seen = size
    pairs = width // heads // 2
    text = dict(
        vocab_size=2000,
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=2 * pairs,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [pairs - 2 * (pairs // 3), pairs // 3, pairs // 3],
            "mrope_interleaved": True,
        },
    )
    visual = dict(
        depth=depth,
        hidden_size=seen,
        intermediate_size=4 * seen,
        num_heads=4,
        patch_size=8,
        temporal_patch_size=2,
        spatial_merge_size=2,
        out_hidden_size=width,
        num_position_embeddings=64,
        deepstack_visual_indexes=[0],
    )
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=visual,
        image_token_id=1990,
        video_token_id=1991,
        vision_start_token_id=1992,
        vision_end_token_id=1993,
        tie_word_embeddings=False,
    )
    made = randomize(Qwen3VLForConditionalGeneration(config), seed)
    with torch.no_grad():
        made.lm_head.weight[1990:] = 0  # neither an image nor the end is ever generated
    made.generation_config.eos_token_id = 1999
    return made


class AppendingMemory(Memory):
    """The memory of most loops: keys and values of a pass are appended, which copies all."""

    def __init__(self, facts: dict):
        super().__init__(facts, 0)

    def append_kv(self, new: list[np.ndarray]) -> None:
        self.pools = [
            tuple(np.concatenate([old, more], 1) for old, more in zip(pair, new[2 * layer :]))
            for layer, pair in enumerate(self.pools)
        ]
        self.bias = np.zeros(self.pools[0][0].shape[1], np.float32)


class Peer:
    """A Python loop with the interface of `Ours`."""

    def __init__(self, answer):
        self.answer = answer

    def run_chunks(self, count: int) -> list[float]:
        took = []
        for _ in range(count):
            started = time.perf_counter()
            generated = self.answer()
            took.append((time.perf_counter() - started) * 1e3)
        self.last = {"generated": generated}
        return took

    def close(self):
        pass


class WeightRead:
    """Milliseconds to read `size` bytes once, at the rate of a sum over 256 MB of f32. It has the
    interface of `Ours`."""

    def __init__(self, size: int):
        self.numbers = torch.ones(64 << 20)
        self.share = size / self.numbers.nbytes

    def run_chunks(self, count: int) -> list[float]:
        took = []
        for _ in range(count):
            started = time.perf_counter()
            self.numbers.sum()
            took.append((time.perf_counter() - started) * 1e3 * self.share)
        return took

    def close(self):
        pass


def bytes_per_token(vlm_model: Qwen3VLForConditionalGeneration) -> int:
    """Bytes of the weights that every token reads: the language model's and the head's, without the
    embedding table."""
    language = vlm_model.model.language_model
    weights = [*language.parameters(), vlm_model.lm_head.weight]
    return sum(p.nbytes for p in weights) - language.embed_tokens.weight.nbytes


def noise(count: int) -> np.ndarray:
    """The input of tools/drivewam/src/bench/vlm.rs."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(2654435761)
    return (x >> np.uint32(8)).astype(np.float32) / np.float32(8388608.0) - np.float32(1)


def compare(name: str, args) -> dict:
    """Compares all contenders with a model of size `name`."""
    vlm_model, text_encoder, folder, plain = (
        model(SIZES[name]),
        encoder(0, 64),
        args.work / "guided",
        args.work / "guided-models",
    )
    args.work.mkdir(parents=True, exist_ok=True)
    files = {"vlm": args.work / "vlm.json", "text": args.work / "text.json"}
    write_tokenizer(
        files["vlm"],
        2000,
        {"<|image_pad|>": 1990, "<|vision_start|>": 1992, "<|vision_end|>": 1993},
    )
    write_tokenizer(
        files["text"],
        text_encoder.config.vocab_size,
        {"<pad>": text_encoder.config.pad_token_id, "</s>": text_encoder.config.eos_token_id},
    )
    export(vlm_model, text_encoder, plain, [SIZE], 16, files)
    join(Path("engines/tiny"), plain, folder)
    torch.set_num_threads(args.threads)

    facts = vlm_model.config
    ids = [facts.vision_start_token_id, facts.image_token_id, facts.vision_end_token_id] * 2 + list(
        range(WORDS)
    )
    rows = (SIZE[0] // 16) * (SIZE[1] // 16)
    patches = noise(rows * 4 * 3 * 2 * 64).reshape(rows * 4, -1)
    guide = VlmGuidance(plain)
    whole = expand(ids, facts.image_token_id, [rows] * 2)
    asked = {
        "input_ids": torch.tensor([whole]),
        "attention_mask": torch.ones(1, len(whole), dtype=torch.long),
        "pixel_values": torch.from_numpy(np.concatenate([patches, patches])),
        "image_grid_thw": torch.tensor([[1, SIZE[0] // 8, SIZE[1] // 8]] * 2),
    }
    asked["mm_token_type_ids"] = (asked["input_ids"] == facts.image_token_id).long()
    flags = lambda tokens: ("--guidance", str(tokens), "--prompt", str(WORDS))
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))
    sets = lambda kind: [f"engine.folder={folder.absolute()}", f"engine.kind={kind}"]
    ours = lambda kind, tokens=TOKENS: Ours(
        args.program,
        Path("configs/tiny.yaml"),
        args.threads,
        sets(kind),
        {"ORT_DYLIB_PATH": str(library)},
        flags(tokens),
    )
    generate = lambda: vlm_model.generate(
        **asked, do_sample=False, max_new_tokens=TOKENS, eos_token_id=None, pad_token_id=0
    )[0, len(whole) :].tolist()
    looped = lambda memory: (
        guide.generate(ids, [(patches, *SIZE)] * 2, TOKENS, memory=memory).tokens
    )
    contenders = {
        "ours, ort": ours("ort"),
        "ours, ort, again": ours("ort"),
        "ours, rten": ours("rten"),
    }
    contenders["Python and ONNX Runtime, in place"] = Peer(lambda: looped(None))
    contenders["Python and ONNX Runtime, appended"] = Peer(
        lambda: looped(AppendingMemory(guide.facts))
    )
    exported = PastPresent(vlm_model, args.work / "past-present", SIZE, 2, args.threads)
    contenders["Python and ONNX Runtime, past and present"] = Peer(
        lambda: exported.generate(ids, asked["pixel_values"].numpy(), TOKENS)
    )
    contenders["transformers"] = Peer(generate)
    for contender in contenders.values():
        contender.run_chunks(1)
    generated = {who: contender.last["generated"] for who, contender in contenders.items()}
    if len({tuple(tokens) for tokens in generated.values()}) != 1:
        raise SystemExit(f"the contenders' tokens differ: {generated}")
    beside = {"one token": ours("ort", 1), "reading": WeightRead(bytes_per_token(vlm_model))}
    took = interleave(contenders | beside, args.rounds, 1, "answers")
    for contender in (contenders | beside).values():
        contender.close()
    report = {
        "prompt_rows": len(whole),
        "parameters_million": sum(p.numel() for p in vlm_model.parameters()) / 1e6,
    }
    report["contenders"] = {
        who: {
            "ms": quantiles(took[who]),
            "time_over_ours_ort": quantiles(took[who] / took["ours, ort"]),
        }
        for who in contenders
    }
    report["past_and_present"] = exported.graphs
    report["token"] = {
        "read_mb": bytes_per_token(vlm_model) / 1e6,
        "memory floor of a token, ms": quantiles(took["reading"]),
        "ours, ort, ms a token behind the prompt": quantiles(
            (took["ours, ort"] - took["one token"]) / (TOKENS - 1)
        ),
    }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for guidance.json and guidance.md"
    )
    parser.add_argument("--program", type=Path, default=Path("target/release/drivewam"))
    parser.add_argument("--work", type=Path, default=Path("target/bench"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    report = {
        "rounds": args.rounds,
        "threads": args.threads,
        "tokens": TOKENS,
        "models": {name: compare(name, args) for name in SIZES},
    }
    lines = [
        "# Answers of a language model\n\n`python -m drivewam_export.guidance.bench`: f32, "
        f"{args.threads} thread(s), {TOKENS} tokens, {args.rounds} rounds; "
        "all return the same tokens."
    ]
    for name, of in report["models"].items():
        lines += [
            f"\n## {of['parameters_million']:.1f} M parameters ({name}), {of['prompt_rows']} rows of prompt\n"
        ]
        lines += [
            "| contender | ms an answer | tokens/s | time / ours, ort | nine rounds of ten |",
            "|---|---|---|---|---|",
        ]
        for who, entry in of["contenders"].items():
            ms, ratio = entry["ms"]["median"], entry["time_over_ours_ort"]
            lines.append(
                f"| {who} | {ms:.0f} | {TOKENS / ms * 1e3:.1f} | {ratio['median']:.2f} | {ratio['low']:.2f} to {ratio['high']:.2f} |"
            )
        show = lambda key: (
            f"{key}: {of['token'][key]['median']:.2f} [{of['token'][key]['low']:.2f}, {of['token'][key]['high']:.2f}]"
        )
        floor, token = (key for key in of["token"] if key != "read_mb")
        graphs = "; ".join(
            f"{graph} {facts['nodes']} nodes, {facts['weights_million']:.1f} M weights"
            for graph, facts in of["past_and_present"].items()
        )
        lines.append(
            f"\n{show(floor)} ({of['token']['read_mb']:.1f} MB of weights, read once as a sum over 256 MB is); {show(token)}."
        )
        lines.append(f"\nPast and present, as exported, nodes without constants: {graphs}.")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "guidance.json").write_text(json.dumps(report, indent=1) + "\n")
    page = wrapped("\n".join(lines))
    (args.out / "guidance.md").write_text(page + "\n")
    print(page)


if __name__ == "__main__":
    main()
