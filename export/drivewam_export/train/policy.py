"""Trains the small policy on latents: `python -m drivewam_export.train.policy --data DIR --codec DIR --out DIR --minutes M`.

Two phases share one script. Phase A: short windows (K = 4), several noisy action copies. Phase B (`--long`): long windows, keys older than
the newest chunk dropped at random, the last chunk's clean video replaced by the model's own prediction, windows where memory is needed drawn more
often. A checkpoint holds everything to go on; it is written aside and renamed.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from ..codec import Codec
from ..config import ModelConfig, load
from ..loss import NoiseLevels, flow_matching_loss, interpolate
from ..model import DriveWam
from ..packed import Layout, patchify, self_scale
from .data import COMMANDS, Drive, Normalisation, increments, open_all, pack
from .latents import Latents, encode_all

COMMAND_ROWS = 4


class CommandText(nn.Module):
    """Learned text rows per route command: they stand where a text encoder's output will."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(len(COMMANDS), COMMAND_ROWS, config.text.dim))

    def forward(self):
        """[commands, rows + 1, Dt]: the real rows and the zero padding row."""
        return torch.cat([self.rows, torch.zeros_like(self.rows[:, :1])], 1)


def context(model: DriveWam, commands: CommandText, layout: Layout, command, ego):
    """Per-layer text and ego keys and values of every chunk, and the text bias. `command` [B, K], `ego` [B, K, features]."""
    pad = math.log(model.config.text.padded_rows - COMMAND_ROWS)
    rows = COMMAND_ROWS + 1
    join = lambda x: x[command].transpose(1, 2).flatten(2, 3)  # [commands, H, R, D] -> [B, H, K*R, D]
    text = [(join(k), join(v)) for k, v in model.context_text(commands())]
    bias = layout.context_bias(rows).to(command.device)
    bias[..., rows - 1 :: rows] += pad
    flat = lambda x: x.transpose(1, 2).flatten(2, 3)  # [B, K, H, E, D] -> [B, H, K*E, D]
    return text, bias, [(flat(k), flat(v)) for k, v in model.context_ego(ego)]


class Windows:
    """Random windows of K chunks from all drives."""

    def __init__(self, config, drives: list[Drive], latents: list[Latents], normalisation: Normalisation, per_second: int):
        self.config, self.drives, self.latents, self.normalisation = config, drives, latents, normalisation
        self.per_chunk = 4 * per_second
        self.tick = 10 // per_second
        # Frames at which a chunk begins whose answer only memory knows.
        self.needed = [(d, int(t) // self.tick) for d, drive in enumerate(drives) for t in np.flatnonzero(drive.needed[: -41])[:: self.tick]]

    def draw(self, chunks: int, rows: int, rng: np.random.Generator, needed_share: float = 0.0):
        """Clean tokens by (chunk, stream), commands and ego states of random windows, as tensors [rows, chunks, ...]."""
        picks = []
        for _ in range(rows):
            if self.needed and rng.random() < needed_share:
                d, last = self.needed[rng.integers(len(self.needed))]
                start = last - (chunks - 2) * self.per_chunk
            else:
                d, start = int(rng.integers(len(self.drives))), -1
            high = len(self.drives[d].frames) - (chunks - 1) * self.per_chunk - 1
            if not 0 <= start < high:
                start = int(rng.integers(0, high))
            picks.append((d, start, start >= self.per_chunk and rng.random() < 0.5))
        return self.gather(picks, chunks)

    def history(self, drives, chunk: int, chunks: int):
        """The `chunks` chunks that end with chunk `chunk` of each of `drives`; the first chunk of a drive is its first frame alone."""
        start = (chunk - chunks + 1) * self.per_chunk
        return self.gather([(int(d), start, start > 0) for d in drives], chunks)

    def gather(self, picks: list[tuple[int, int, bool]], chunks: int):
        """Windows of (drive, frame at which chunk 1 begins, whether chunk 0 is a whole chunk and not a first frame)."""
        c, rows = self.config, len(picks)
        latent = np.empty((rows, chunks, c.latent.channels, c.latent.height, c.latent.width), np.float32)
        action = np.empty((rows, chunks, c.poses, 3))
        ego = np.empty((rows, chunks, 3), np.float32)
        command = np.empty((rows, chunks), np.int64)
        for r, (d, start, whole) in enumerate(picks):
            drive, latents = self.drives[d], self.latents[d]
            for k in range(chunks):
                at = start + (k - 1) * self.per_chunk  # the frame at which chunk k begins
                if k == 0 and not whole:
                    latent[r, k] = latents.first[start]
                    action[r, k] = 0.0
                else:
                    latent[r, k] = latents.chunk[at]
                    action[r, k] = increments(drive.poses, at * self.tick, c.poses)
                tick = max(at, start if k == 0 else 0) * self.tick
                ego[r, k] = drive.ego[tick]
                command[r, k] = drive.command[tick]
        tokens_v = patchify(c, torch.from_numpy(latent))
        packed = pack(c, self.normalisation.apply(action)).astype(np.float32).clip(-4, 4)
        tokens_a = torch.nn.functional.pad(torch.from_numpy(packed), (0, c.token_width - c.action.channels))
        return tokens_v, tokens_a, torch.from_numpy(command), torch.from_numpy(ego)


def arrange(layout: Layout, tokens_v, tokens_a):
    """Clean tokens [B, N, W] in the layout's order."""
    parts = [(tokens_a if g.is_action else tokens_v)[:, g.chunk] for g in layout.groups]
    return torch.cat(parts, 1)


def drop_old_keys(layout: Layout, rows: int, generator, share: float):
    """Visibility [rows, N, N] in which, for `share` of the rows, clean keys older than the newest chunk are dropped at random: a bounded memory
    keeps the newest chunk whole and thins all others."""
    chunk = torch.tensor([g.chunk for g in layout.groups])[layout.group]
    clean = torch.tensor([not g.noisy for g in layout.groups])[layout.group]
    age = chunk[:, None] - chunk[None, :]
    rate = torch.rand(rows, 1, generator=generator) * 0.95
    rate = torch.where(torch.rand(rows, 1, generator=generator) < share, rate, torch.zeros(()))
    dropped = torch.rand(rows, layout.length, generator=generator) < rate
    old = (age > 1) & clean[None, :]
    return layout.visible[None] & ~(old[None] & dropped[:, None, :])


def ego_dropout(ego, generator, probability: float):
    """Noise on the ego state and, at random, no acceleration and curvature: a remedy against copying the recent past."""
    noisy = ego * (1 + 0.03 * torch.randn(ego.shape, generator=generator))
    dropped = torch.rand(*ego.shape[:2], 1, generator=generator) < probability
    keep = torch.cat([torch.ones_like(dropped), ~dropped, ~dropped], -1)
    return noisy * keep


class Trainer:
    def __init__(self, args):
        self.args = args
        torch.set_num_threads(args.threads)
        torch.manual_seed(args.seed)
        self.config = load(args.config)
        self.model = DriveWam(self.config)
        self.commands = CommandText(self.config)
        self.modules = nn.ModuleDict({"policy": self.model, "commands": self.commands})
        self.ema = {k: v.detach().clone() for k, v in self.modules.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.modules.parameters(), lr=args.rate, betas=(0.9, 0.95), weight_decay=0.02)
        self.step, self.spent = 0, 0.0
        self.levels = NoiseLevels(video_shift=2.0, action_shift=1.0, history_probability=0.6, history_max=0.9)
        self.stop = False
        self.layouts: dict[tuple, Layout] = {}
        if args.start:
            self.load(args.start)
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "stop", True))
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stop", True))

    def load(self, folder: Path):
        state = torch.load(folder / "training.pt", weights_only=True)
        self.modules.load_state_dict(state["modules"])
        self.ema = state["ema"]
        if self.args.resume:
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.spent = state["step"], state["spent"]

    def save(self, normalisation: Normalisation, record: dict):
        out = self.args.out
        out.mkdir(parents=True, exist_ok=True)

        def write(name, how):
            how(out / (name + ".partial"))
            (out / (name + ".partial")).rename(out / name)

        pick = lambda prefix: {k.removeprefix(prefix): v.contiguous() for k, v in self.ema.items() if k.startswith(prefix)}
        write("policy.safetensors", lambda p: save_file(pick("policy."), p))
        rows = self.ema["commands.rows"]
        write("commands.safetensors", lambda p: save_file({n: rows[i].contiguous() for i, n in enumerate(COMMANDS)}, p))
        codec = load_file(self.args.codec / "codec.safetensors")
        write("codec.safetensors", lambda p: save_file(codec, p))
        write("normalisation.yaml", lambda p: p.write_text(yaml.safe_dump({"action": normalisation.to_dict()})))
        write("training.yaml", lambda p: p.write_text(yaml.safe_dump(record, sort_keys=False)))
        state = {"modules": self.modules.state_dict(), "ema": self.ema, "optimiser": self.optimiser.state_dict(), "step": self.step, "spent": self.spent}
        write("training.pt", lambda p: torch.save(state, p))

    def layout(self, chunks, copies):
        if (chunks, copies) not in self.layouts:
            self.layouts[chunks, copies] = Layout(self.config, chunks, copies)
        return self.layouts[chunks, copies]

    def loss(self, windows: Windows, rng, generator):
        a = self.args
        chunks = a.chunks if not a.long else int(rng.integers(max(4, a.chunks - 4), a.chunks + 1))
        layout = self.layout(chunks, a.copies)
        tokens_v, tokens_a, command, ego = windows.draw(chunks, a.batch, rng, 0.3 if a.long else 0.05)
        clean = arrange(layout, tokens_v, tokens_a)
        ego = ego_dropout(ego, generator, a.ego_dropout)
        if chunks > 1:  # chunk 0 reads chunk 1's guidance and ego
            ego[:, 0], command[:, 0] = ego[:, 1], command[:, 1]
        visible = drop_old_keys(layout, a.batch, generator, 0.6) if a.long else layout.visible[None]
        bias, scale = layout.self_bias(visible), self_scale(visible.sum(-1)) if self.config.self_scale == "log" else None
        times = self.levels.draw(layout, a.batch, generator)
        noise = torch.randn(clean.shape, generator=generator)
        mixed = interpolate(clean, noise, times[:, layout.group, None])
        text, text_bias, ego_kv = context(self.model, self.commands, layout, command, ego)
        run = lambda tokens, times: self.model.packed(layout, tokens, times, bias, scale, text, text_bias, ego_kv)
        if a.long:
            mixed, times = self.own_video(layout, run, mixed, noise, times, generator)
        return flow_matching_loss(layout, run(mixed, times), clean, noise, weight_video=a.video_weight)

    @torch.no_grad()
    def own_video(self, layout: Layout, run, mixed, noise, times, generator):
        """For 60 % of the rows the last chunk's clean video becomes the model's own: one Euler step from noise to a level that it is told."""
        last = layout.chunks - 1
        noisy_i, noisy = layout.find(last, False, True)
        clean_i, clean = layout.find(last, False, False)
        tokens, pure = mixed.clone(), times.clone()
        tokens[:, noisy.span], pure[:, noisy_i] = noise[:, noisy.span], 1.0
        velocity = run(tokens, pure)[:, noisy.span]
        end = 0.4 + 0.4 * torch.rand(len(mixed), 1, 1, generator=generator)
        predicted = noise[:, noisy.span] + velocity * (end - 1.0)
        use = torch.rand(len(mixed), 1, 1, generator=generator) < 0.6
        tokens = mixed.clone()
        tokens[:, clean.span] = torch.where(use, predicted, mixed[:, clean.span])
        times = times.clone()
        times[:, clean_i] = torch.where(use[:, 0, 0], end[:, 0, 0], times[:, clean_i])
        return tokens, times

    def train(self):
        a = self.args
        codec = Codec(self.config)
        codec.load_state_dict(load_file(a.codec / "codec.safetensors"))
        codec.eval()
        drives = open_all(a.data)
        per_second = round(1.0 / (drives[0].frame_s[1] - drives[0].frame_s[0]))
        latents = encode_all(codec, drives, per_second)
        normalisation = Normalisation.of(drives)
        windows = Windows(self.config, drives, latents, normalisation, per_second)
        rng = np.random.default_rng(a.seed + self.step)
        generator = torch.Generator().manual_seed(a.seed + self.step)
        begun, base = time.time(), self.spent
        saved, logged = time.time(), []
        print(f"{len(drives)} drives, {len(windows.needed)} windows that need memory, {sum(p.numel() for p in self.model.parameters())} parameters", flush=True)
        while self.spent < a.minutes * 60 and not self.stop:
            share = self.spent / (a.minutes * 60)
            for group in self.optimiser.param_groups:
                group["lr"] = a.rate * min(1.0, (self.step + 1) / a.warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
            loss, video, action = self.loss(windows, rng, generator)
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            decay = min(a.ema, (1 + self.step) / (10 + self.step))
            for name, value in self.modules.state_dict().items():
                self.ema[name].lerp_(value, 1 - decay)
            logged.append((video.item(), action.item()))
            self.spent = base + time.time() - begun
            if self.step % 100 == 0:
                mean = np.mean(logged, 0)
                logged = []
                rate = self.step * a.batch / max(self.spent, 1e-9)
                print(f"policy step {self.step} {self.spent:.0f} s video {mean[0]:.4f} action {mean[1]:.4f} {rate:.1f} windows/s", flush=True)
            if time.time() - saved > 240:
                self.save(normalisation, self.record(len(drives)))
                saved = time.time()
        self.save(normalisation, self.record(len(drives)))
        print("policy done", flush=True)

    def record(self, drives: int) -> dict:
        a = vars(self.args)
        options = {k: (str(v) if isinstance(v, Path) else v) for k, v in a.items() if k not in ("data", "codec", "out", "start")}
        return {"steps": self.step, "seconds": round(self.spent), "drives": drives, "options": json.loads(json.dumps(options))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument("--data", type=Path, required=True, help="folder of input folders")
    parser.add_argument("--codec", type=Path, required=True, help="folder with codec.safetensors")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a checkpoint folder to start from")
    parser.add_argument("--resume", action="store_true", help="with --start: go on with its optimiser and its clock")
    parser.add_argument("--minutes", type=float, default=28)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--long", action="store_true", help="phase B")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--video-weight", type=float, default=0.5)
    parser.add_argument("--ego-dropout", type=float, default=0.15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    Trainer(parser.parse_args()).train()


if __name__ == "__main__":
    main()
