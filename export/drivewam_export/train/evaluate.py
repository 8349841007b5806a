"""Held-out figures of a checkpoint: `python -m drivewam_export.train.evaluate --data DIR --checkpoint DIR`.

Observed history, chunk by chunk: three video steps to flow time 0.6, then ten action steps that see the imagined video; both by the packed
forward, whose mask equals the step-by-step one. Error of the position, mean and last, over 3 s and 4 s, beside constant velocity and yaw rate;
standard errors over drives. A drive's chunks start at its first frame; history is at most `--history` chunks.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch

from ..config import load
from ..folder import open_checkpoint
from ..packed import Layout, self_scale
from ..schedule import action_steps, video_steps
from .data import COMMANDS, Normalisation, increments, open_all, relative, unpack
from .latents import encode_drive
from .policy import CommandText, context
from .windows import Window, Windows, arrange

VIDEO_END = 0.6


class Evaluator:
    def __init__(self, config, checkpoint: Path, video_shift: float = 2.0):
        opened = open_checkpoint(str(checkpoint), config)
        self.config, self.model, self.codec = opened.config, opened.model.eval(), opened.codec.eval()
        self.commands = CommandText(self.config)
        self.commands.rows.data = torch.stack([opened.rows[name] for name in COMMANDS])
        self.normalisation = Normalisation.from_dict(opened.normalisation["action"])
        self.video_steps = video_steps(3, video_shift, {"tau": VIDEO_END})
        self.action_steps = action_steps(10, 1.0)

    @torch.no_grad()
    def predict(self, window: Window, start: str, generator) -> np.ndarray:
        """Trajectories [B, poses, 2] of the last chunk, whose own tokens are not looked at."""
        c, chunks = self.config, window.video.shape[1]
        layout = Layout(c, chunks, 1, noisy_from=chunks - 1)
        last = chunks - 1
        tokens = arrange(layout, window)
        vi, v = layout.find(last, False, True)
        ci, clean = layout.find(last, False, False)
        ai, a = layout.find(last, True, True)
        text, text_bias, ego_kv = context(self.model, self.commands, layout, window.command, window.ego)
        bias = layout.self_bias()
        scale = self_scale(layout.visible.sum(-1))[None] if c.self_scale == "log" else None
        times = torch.zeros(len(tokens), len(layout.groups))
        run = lambda: self.model.packed(layout, tokens, times, bias, scale, text, text_bias, ego_kv)
        tokens[:, v.span] = torch.randn(tokens[:, v.span].shape, generator=generator)
        tokens[:, v.span, c.video_channels :] = 0
        for tau, after in self.video_steps:
            times[:, vi] = tau
            tokens[:, v.span] += run()[:, v.span] * (after - tau)
        tokens[:, clean.span], times[:, ci] = tokens[:, v.span], VIDEO_END
        noise = torch.zeros(tokens[:, a.span].shape) if start == "zero" else torch.randn(tokens[:, a.span].shape, generator=generator)
        noise[..., c.action.channels :] = 0
        tokens[:, a.span] = noise
        for tau, after in self.action_steps:
            times[:, ai] = tau
            tokens[:, a.span] += run()[:, a.span] * (after - tau)
        steps = self.normalisation.undo(unpack(c, tokens[:, a.span].numpy()))
        return np.cumsum(steps, axis=1)[..., :2]


def constant(drive, tick: int, poses: int) -> np.ndarray:
    """Constant velocity and yaw rate from the last 0.1 s, [poses, 2] in the frame at `tick`."""
    if tick == 0:
        speed, rate = drive.ego[0, 0], 0.0
    else:
        back = relative(drive.poses[tick - 1 : tick], drive.poses[tick])[0]
        speed, rate = drive.ego[tick, 0], -back[2] / 0.1
    yaw = rate * 0.1 * np.arange(poses)
    return np.cumsum(speed * 0.1 * np.stack([np.cos(yaw + 0.05 * rate), np.sin(yaw + 0.05 * rate)], -1), axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--drives", type=int, default=200)
    parser.add_argument("--history", type=int, default=4, help="chunks that are seen or predicted at once")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = load(args.config)
    judge = Evaluator(config, args.checkpoint)
    drives = open_all(args.data)[: args.drives]
    per_second = round(1.0 / (drives[0].frame_s[1] - drives[0].frame_s[0]))
    latents = [encode_drive(judge.codec, d, per_second) for d in drives]
    windows = Windows(config, drives, latents, judge.normalisation, per_second)
    black = [encode_drive(judge.codec, _blackened(d), per_second) for d in drives]
    dark = Windows(config, drives, black, judge.normalisation, per_second)
    chunks = min((len(d.frames) - 1) // (4 * per_second) for d in drives)
    errors: dict[str, list[np.ndarray]] = {}
    for chunk in range(1, chunks + 1):
        truth = np.stack([np.cumsum(increments(d.poses, (chunk - 1) * 40, config.poses), 0)[:, :2] for d in drives])
        baseline = np.stack([constant(d, (chunk - 1) * 40, config.poses) for d in drives])
        answers = {"constant velocity and yaw rate": baseline}
        for name, source, start in (("policy, action start zero", windows, "zero"), ("policy, action start noise", windows, "noise"), ("policy, camera black", dark, "zero")):
            generator = torch.Generator().manual_seed(chunk)
            parts = []
            for rows in np.array_split(np.arange(len(drives)), max(1, len(drives) // 25)):
                parts.append(judge.predict(source.history(rows, chunk, min(chunk + 1, args.history)), start, generator))
            answers[name] = np.concatenate(parts)
        for name, answer in answers.items():
            errors.setdefault(name, []).append(np.linalg.norm(answer - truth, axis=-1))
        print(f"chunk {chunk} of {chunks}", flush=True)
    report = {}
    for name, parts in errors.items():
        error = np.stack(parts, 1)  # [drives, chunks, poses]
        figures = {"ADE@3s": error[..., :30].mean((1, 2)), "FDE@3s": error[..., 29].mean(1), "ADE@4s": error.mean((1, 2)), "FDE@4s": error[..., 39].mean(1)}
        report[name] = {k: [round(float(v.mean()), 3), round(float(v.std(ddof=1) / math.sqrt(len(v))), 3)] for k, v in figures.items()}
        print(f"{name:32s} " + "  ".join(f"{k} {m:.3f} ± {s:.3f}" for k, (m, s) in report[name].items()))
    print(json.dumps({"drives": len(drives), "chunks": chunks, "figures": report}))


def _blackened(drive):
    import dataclasses

    return dataclasses.replace(drive, frames=np.zeros_like(drive.frames))


if __name__ == "__main__":
    main()
