"""The command line of train.policy."""

from __future__ import annotations

import argparse
from pathlib import Path


def options(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument("--data", type=Path, required=True, help="folder of input folders")
    parser.add_argument(
        "--driven",
        type=Path,
        action="append",
        default=[],
        help="folder of drives of the policy itself (world --policy); repeatable",
    )
    parser.add_argument(
        "--driven-share",
        type=float,
        default=0.5,
        help="share of the steps whose windows are of --driven; half of them end on a hard frame",
    )
    parser.add_argument(
        "--codec",
        type=Path,
        required=True,
        help="folder with codec.safetensors, or an exported one",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a checkpoint folder to start from")
    parser.add_argument(
        "--guidance",
        type=Path,
        help="with --start: train only the weights that read texts, on texts of this guidance folder "
        "(train.guidance.generate)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="with --start: continue with its optimiser state and elapsed time",
    )
    parser.add_argument("--minutes", type=float, default=28)
    parser.add_argument("--steps", type=int, default=0, help="number of steps, instead of minutes")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--chunks", type=int, default=4, help="chunks of a short window")
    parser.add_argument("--long-chunks", type=int, default=10, help="chunks of the longest window")
    parser.add_argument(
        "--long-share", type=float, default=0.5, help="share of the steps with long windows"
    )
    parser.add_argument(
        "--whole-share",
        type=float,
        default=0.1,
        help="share of the steps with windows that reach through a whole drive",
    )
    parser.add_argument(
        "--copies",
        type=int,
        default=3,
        help="number of noisy action copies; the first starts from zero",
    )
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--video-weight", type=float, default=0.5)
    parser.add_argument("--displacement-weight", type=float, default=0.25)
    parser.add_argument("--reader-weight", type=float, default=0.1)
    parser.add_argument("--ego-dropout", type=float, default=0.15)
    parser.add_argument(
        "--blind",
        action="store_true",
        help="set every latent to zero: the control of `drivewam study sight --blind`",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--device", default="cpu", help="cpu, or cuda with products and attention in bf16"
    )
    parser.add_argument(
        "--save-seconds", type=float, default=240, help="seconds between two checkpoints"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser
