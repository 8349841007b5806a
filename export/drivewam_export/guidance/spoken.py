"""`python -m drivewam_export.guidance.spoken --out DIR`

A folder that speaks: the shipped policy, in it the weights that were trained to read a guidance (`engines/tiny-guided`), and the small language model and text encoder
(`engines/tiny-guidance`). `--precision f16|bf16` writes all three in half, attention as TensorRT fuses it. `--pick CHECKPOINT` writes such weights of a checkpoint of
`train.policy --words` to `--out` instead.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import yaml
from safetensors.torch import load_file, save_file

from .. import config as configs
from ..folder import CODEC_FILES, POLICY_FILES, ExportError, stored, written_aside
from ..onnx_graphs.export import export as export_policy
from ..onnx_graphs.graphs import ATTENTIONS
from ..onnx_graphs.precision import F32, PRECISIONS, Precision
from ..train.guidance import shipped
from ..train.policy import READS_TEXT
from ..train.texts import words_config
from .export import export
from .join import join

ROOT = Path(__file__).resolve().parents[3]
POLICY, GUIDED, GUIDANCE = (ROOT / "engines" / name for name in ("tiny", "tiny-guided", "tiny-guidance"))
RECORD = "training.yaml"


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


def speaks(out: Path, precision: Precision) -> None:
    """The shipped guidance in `precision`."""
    record = yaml.safe_load((GUIDANCE / "guidance.yaml").read_text())
    rows, width = record["graphs"]["text_encode"]["outputs"][0]["shape"]
    size = tuple(record["images"]["vlm_vision"])
    speaker, reader = shipped.speaker(GUIDANCE, size)[0].model, shipped.reader(GUIDANCE, width)[0]
    tokenizers = {name: GUIDANCE / record[name]["tokenizer"] for name in ("vlm", "text")}
    export(speaker, reader, out, [size], rows, tokenizers, training=record["training"], precision=precision)


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
        join(policy, guidance, args.out)


if __name__ == "__main__":
    main()
