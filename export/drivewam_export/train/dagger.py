"""Trains the small policy on what it does to itself (DAgger).

`python -m drivewam_export.train.dagger --out DIR --base DIR --rounds N`

A round has four stages: the newest weights drive in closed loop and the expert labels what they met
(`drivewam world --policy`); several processes of one thread each train from the newest weights, on
the drives of all rounds and on the expert's drives of `--base`; the mean of their weights is taken;
it is exported. Every stage writes aside and renames, so a command that was stopped goes on where it
was. `--rounds` counts all rounds: a higher number continues.

| in `--out` | content |
|---|---|
| `round-R/drives` | what the weights of the round before drove |
| `round-R/process-P` | a process's checkpoint |
| `round-R/weights` | their mean |
| `round-R/engine` | the exported bundle; the next round's driver |
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml
from safetensors.torch import load_file, save_file

from ..folder import RANGES

# Held-out seeds end below 10000; the shipped kind of data has those from 100000 on.
FIRST_SEED = 600_000
# Seeds of a round.
SEEDS = 1000
AVERAGED = ("policy.safetensors", "commands.safetensors")
# How the drives are labelled, and what the ride is set to while it collects.
LABELS = ("--plans", "--no-foresight", "--frames", "rgb8", "--camera-hz", "2")


class Stopped(Exception):
    """A signal asked to stop."""


class Dagger:
    def __init__(self, args):
        self.args, self.children = args, []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.on_signal)

    def on_signal(self, *_):
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        raise Stopped

    def run(self, *commands: list) -> None:
        """Runs programs side by side. The first that fails ends all."""
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.children = [
            subprocess.Popen([str(word) for word in command], env=environment)
            for command in commands
        ]
        try:
            codes = [child.wait() for child in self.children]
        except Stopped:
            # They save what they have.
            for child in self.children:
                child.wait()
            raise
        if any(codes):
            failed = commands[[code != 0 for code in codes].index(True)]
            raise SystemExit(f"failed: {' '.join(map(str, failed))}")

    def start_of(self, number: int) -> Path:
        """The bundle that drives in round `number`, from 1, and that its training starts from."""
        return self.args.start if number == 1 else self.folder(number - 1) / "engine"

    def folder(self, number: int) -> Path:
        return self.args.out / f"round-{number}"

    def collect(self, number: int) -> None:
        a, first = self.args, FIRST_SEED + number * SEEDS
        settings = {
            "engine.folder": self.start_of(number).resolve(),
            "lanes.count": a.lanes,
            "flow.video.steps": a.video_steps,
            "flow.action.steps": a.action_steps,
        }
        command = [a.program, "world", "--policy", a.policy, "--expert-every", a.expert_every]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        command += ["--seeds", f"{first}..{first + a.drives}", "--seconds", a.seconds]
        command += ["--extra-margin", a.extra_margin, "--threads", a.processes, *LABELS]
        command += ["--captions"] * a.captions
        self.run([*command, "--out", self.folder(number) / "drives"])

    def train(self, number: int) -> None:
        a = self.args
        driven = [
            word
            for before in range(1, number + 1)
            for word in ("--driven", self.folder(before) / "drives")
        ]

        def command(process: int) -> list:
            out = self.folder(number) / f"process-{process}"
            start = ["--start", self.start_of(number)]
            if (out / "training.pt").exists():
                start = ["--start", out, "--resume"]
            return [
                *(sys.executable, "-m", "drivewam_export.train.policy"),
                *("--data", a.base, *driven, "--driven-share", a.driven_share),
                *("--codec", a.start, "--out", out, *start, "--minutes", a.minutes),
                *("--threads", 1, "--seed", 100 * number + process, "--reader-weight", 0),
                *("--save-seconds", 120, *a.train_options),
            ]

        self.run(*(command(process) for process in range(a.processes)))

    def average(self, number: int) -> None:
        folder = self.folder(number)
        average([folder / f"process-{p}" for p in range(self.args.processes)], folder / "weights")

    def export(self, number: int) -> None:
        folder = self.folder(number)
        self.run(
            [
                *(sys.executable, "-m", "drivewam_export.onnx_graphs.export"),
                *("--config", self.args.config, "--checkpoint", folder / "weights"),
                *("--out", folder / "engine"),
            ]
        )

    def round(self, number: int) -> None:
        """Does the stages of round `number` that are not done."""
        stages = [
            (self.collect, "collected"),
            (self.train, "trained"),
            (self.average, "averaged"),
            (self.export, "exported"),
        ]
        self.folder(number).mkdir(parents=True, exist_ok=True)
        for stage, done in stages:
            mark = self.folder(number) / done
            if mark.exists():
                continue
            begun = time.time()
            print(f"round {number}: {stage.__name__}", flush=True)
            stage(number)
            mark.write_text(json.dumps({"seconds": round(time.time() - begun)}) + "\n")


def average(folders: list[Path], out: Path) -> None:
    """Writes a checkpoint with the mean of the weights of `folders`; its other files are those of
    the first."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in AVERAGED:
        weights = [load_file(folder / name) for folder in folders]
        mean = {key: sum(w[key].double() for w in weights) / len(weights) for key in weights[0]}
        save_file(
            {key: value.to(weights[0][key].dtype) for key, value in mean.items()}, partial / name
        )
    for name in ("codec.safetensors", "normalisation.yaml", RANGES):
        shutil.copy(folders[0] / name, partial / name)
    records = [yaml.safe_load((folder / "training.yaml").read_text()) for folder in folders]
    record = {
        **records[0],
        "windows": sum(record["windows"] for record in records),
        "averaged": len(records),
    }
    (partial / "training.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rounds")
    parser.add_argument("--base", type=Path, required=True, help="the expert's drives, with labels")
    parser.add_argument("--rounds", type=int, default=4, help="number of rounds in all")
    parser.add_argument("--start", type=Path, default=Path("engines/tiny"), help="first weights")
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument(
        "--policy", type=Path, default=Path("configs/tiny.yaml"), help="configuration of the ride"
    )
    parser.add_argument("--program", type=Path, default=Path("target/release/drivewam"))
    parser.add_argument("--drives", type=int, default=120, help="drives of a round")
    parser.add_argument("--seconds", type=float, default=60, help="length of a drive")
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--video-steps", type=int, default=1, help="while collecting")
    parser.add_argument("--action-steps", type=int, default=3, help="while collecting")
    parser.add_argument(
        "--captions",
        action="store_true",
        help="write beside the drives what train.guidance.generate reads",
    )
    parser.add_argument("--expert-every", type=int, default=5, help="drives of the expert alone")
    parser.add_argument(
        "--extra-margin", type=float, default=1.3, help="labels stop this much sooner, metres"
    )
    parser.add_argument("--minutes", type=float, default=20, help="training of a round")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--driven-share", type=float, default=0.5)
    parser.add_argument(
        "train_options", nargs="*", help="after --: further options of train.policy"
    )
    return parser


def main() -> None:
    args = options().parse_args()
    if not 1 <= args.drives <= SEEDS:
        raise SystemExit(f"--drives: got {args.drives}, wanted 1 to {SEEDS}")
    dagger = Dagger(args)
    try:
        for number in range(1, args.rounds + 1):
            dagger.round(number)
    except Stopped:
        raise SystemExit("stopped; the same command goes on from here") from None


if __name__ == "__main__":
    main()
