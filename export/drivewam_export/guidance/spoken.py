"""`python -m drivewam_export.guidance.spoken --out DIR`

A folder that speaks: the shipped policy, in it the weights that were trained to read a guidance (`engines/tiny-guided`), and the small language model and text encoder
(`engines/tiny-guidance`); and beside it what `transformers` says with the same weights (golden.py). `--precision f16|bf16` writes all three in half, attention as
TensorRT fuses it. `--pick CHECKPOINT` writes such weights of a checkpoint of `train.policy --words` to `--out` instead.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import yaml
from safetensors.torch import load_file, save_file

from .. import config as configs
from ..folder import CODEC_FILES, POLICY_FILES, ExportError, stored, written_aside
from ..onnx_graphs.export import export as export_policy
from ..onnx_graphs.graphs import ATTENTIONS
from ..onnx_graphs.precision import F32, PRECISIONS, Precision
from ..train.guidance import shipped, words
from ..train.policy import READS_TEXT
from ..train.texts import words_config
from .export import export
from .golden import answers, texts
from .join import join

ROOT = Path(__file__).resolve().parents[3]
POLICY, GUIDED, GUIDANCE = (ROOT / "engines" / name for name in ("tiny", "tiny-guided", "tiny-guidance"))
RECORD = "training.yaml"
PROMPTS = 56


def pick(checkpoint: Path, out: Path) -> None:
    """Of a checkpoint what reads texts, the commands' texts, and how they were trained."""
    state = load_file(checkpoint / "policy.safetensors")
    with written_aside(out) as aside:
        save_file({name: value for name, value in state.items() if READS_TEXT.match("policy." + name)}, aside / "policy.safetensors")
        for name in ("commands.safetensors", RECORD):
            shutil.copyfile(checkpoint / name, aside / name)


def guided(out: Path) -> None:
    """The shipped policy with those weights, as a checkpoint."""
    manifest, trained = yaml.safe_load((POLICY / "manifest.yaml").read_text()), load_file(GUIDED / "policy.safetensors")
    state = stored(POLICY, "policy.safetensors", POLICY_FILES)[0].all()
    strange = sorted(name for name, value in trained.items() if name not in state or state[name].shape != value.shape)
    if strange:
        raise ExportError(f"{GUIDED}: not weights of the policy in {POLICY}: {', '.join(strange)}")
    save_file(state | trained, out / "policy.safetensors")
    save_file(stored(POLICY, "codec.safetensors", CODEC_FILES)[0].all(), out / "codec.safetensors")
    shutil.copyfile(GUIDED / "commands.safetensors", out / "commands.safetensors")
    (out / "normalisation.yaml").write_text(yaml.safe_dump(manifest["normalisation"]))
    (out / RECORD).write_text(yaml.safe_dump(manifest["training"] | {"guided": yaml.safe_load((GUIDED / RECORD).read_text())}, sort_keys=False))


def trained():
    """The shipped language model and its tokenizer, and the encoder, as classes of `transformers`; what is known of them, the size of a picture, rows of a text."""
    record = yaml.safe_load((GUIDANCE / "guidance.yaml").read_text())
    rows, width = record["graphs"]["text_encode"]["outputs"][0]["shape"]
    size = tuple(record["images"]["vlm_vision"])
    speaker, tokenizer = shipped.speaker(GUIDANCE, size)
    return speaker.model, tokenizer, shipped.reader(GUIDANCE, width)[0], record, size, rows


def speaks(out: Path, precision: Precision) -> None:
    """The shipped guidance in `precision`."""
    speaker, _, reader, record, size, rows = trained()
    tokenizers = {name: GUIDANCE / record[name]["tokenizer"] for name in ("vlm", "text")}
    export(speaker, reader, out, [size], rows, tokenizers, training=record["training"], precision=precision)


def scene(seed: int, height: int, width: int) -> np.ndarray:
    """Something like a road below a sky, with things on it, in [-1, 1]: no picture of the world, but one that a trained model has words for."""
    g = np.random.default_rng(seed)
    y, x = (axis / length for axis, length in zip(np.mgrid[0:height, 0:width], (height, width)))
    horizon, bend = g.uniform(0.3, 0.6), g.uniform(-0.3, 0.3)
    is_road = np.abs(x - 0.5 - bend * (1 - y)) < 0.6 * np.maximum(y - horizon, 0)
    colour = lambda: g.uniform(0, 1, 3)[:, None, None]
    picture = np.where(y < horizon, colour(), np.where(is_road, colour(), colour()))
    for _ in range(int(g.integers(1, 5))):
        top, left = g.uniform(0, 0.8, 2)
        picture = np.where((np.abs(y - top) < g.uniform(0.03, 0.15)) & (np.abs(x - left) < g.uniform(0.02, 0.15)), colour(), picture)
    return (picture * 2 - 1).astype(np.float32)


def golden() -> dict:
    """What `transformers` says with the shipped weights, under every command."""
    speaker, tokenizer, reader, record, size, rows = trained()
    ids = words.prompts(tokenizer)
    asked = ((ids[i % len(ids)], [scene(2 * i, *size), scene(2 * i + 1, *size)]) for i in range(PROMPTS))
    return answers(speaker, asked, words.LONGEST, record["vlm"]["end_tokens"]) | texts(reader, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pick", type=Path, help="a checkpoint of train.policy --words")
    parser.add_argument("--precision", choices=PRECISIONS, default="f32")
    args = parser.parse_args()
    precision = PRECISIONS[args.precision]
    if args.pick:
        return pick(args.pick, args.out)
    with tempfile.TemporaryDirectory() as scratch:
        policy, checkpoint, guidance = Path(scratch) / "policy", Path(scratch) / "checkpoint", GUIDANCE
        checkpoint.mkdir()
        guided(checkpoint)
        attention = ATTENTIONS[0] if precision is F32 else "textbook"
        config = words_config(configs.load(ROOT / "configs/model/tiny.yaml"), GUIDANCE)
        export_policy(config, str(checkpoint), policy, precision=precision, attention=attention)
        if precision is not F32:
            guidance = Path(scratch) / "guidance"
            speaks(guidance, precision)
        else:
            save_file(golden(), args.out.with_name(args.out.name + ".golden.safetensors"))
        join(policy, guidance, args.out)


if __name__ == "__main__":
    main()
