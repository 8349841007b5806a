"""Trains the small policy on latents: `python -m drivewam_export.train.policy --data DIR --codec DIR --out DIR --minutes M`.

One phase. A step has short windows or, in a share of steps, long ones, among them many where memory is needed. Keys older than the newest chunk
are dropped at random, as a bounded memory drops them. Noisy actions see the video that the model itself imagined, never the true one. One of the
action copies starts from zero instead of noise, and its mean displacement in metres is part of the loss: it is what a ride with
`flow.action.start: zero` does first. A checkpoint holds everything to go on; it is written aside and renamed.
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
from ..loss import NoiseLevels, displacement_loss, flow_matching_loss, interpolate
from ..model import DriveWam
from ..packed import Layout, self_scale
from .data import COMMANDS, LIMITS_MPS, Normalisation, open_all
from .latents import encode_all
from .windows import Windows, arrange

COMMAND_ROWS = 4
# Thrown away after training.
READERS = ("limit", "road")
# As the standard deviation that latents are divided by, it leaves nothing of them.
NO_SIGHT = 1e30


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
        c = self.config
        readers = dict(zip(READERS, (nn.Linear(c.dim, len(LIMITS_MPS)), nn.Linear(c.nv * c.dim, c.na * c.action.channels))))
        self.modules = nn.ModuleDict({"policy": self.model, "commands": self.commands, **readers})
        self.model.norm_out.register_forward_hook(lambda _module, _inputs, rows: setattr(self, "hidden", rows))
        self.ema = {k: v.detach().clone() for k, v in self.modules.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.modules.parameters(), lr=args.rate, betas=(0.9, 0.95), weight_decay=0.02)
        self.step, self.spent = 0, 0.0
        self.levels = NoiseLevels(video_shift=2.0, action_shift=1.0, history_probability=0.2, history_max=0.6)
        self.stop = False
        self.layouts: dict[tuple, Layout] = {}
        if args.start:
            self.load(args.start)
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "stop", True))
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stop", True))

    def load(self, folder: Path):
        state = torch.load(folder / "training.pt", weights_only=True)
        differs = sorted(set(state["modules"]) ^ set(self.modules.state_dict()))
        if any(name.split(".")[0] not in READERS for name in differs) or (differs and self.args.resume):
            raise SystemExit(f"--start {folder}: other weights than this model's (differ: {', '.join(differs)}; wanted none{', as --resume needs' if self.args.resume else ''})")
        for name in differs:
            print(f"--start {folder}: {'new' if name in self.ema else 'left out'}: {name}", flush=True)
        known = {name: value for name, value in state["modules"].items() if name in self.ema}
        self.modules.load_state_dict(self.modules.state_dict() | known)
        self.ema |= {name: value for name, value in state["ema"].items() if name in self.ema}
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
        write("codec.safetensors", lambda p: save_file(self.codec.state_dict(), p))
        write("normalisation.yaml", lambda p: p.write_text(yaml.safe_dump({"action": normalisation.to_dict()})))
        write("training.yaml", lambda p: p.write_text(yaml.safe_dump(record, sort_keys=False)))
        state = {"modules": self.modules.state_dict(), "ema": self.ema, "optimiser": self.optimiser.state_dict(), "step": self.step, "spent": self.spent}
        write("training.pt", lambda p: torch.save(state, p))

    def layout(self, chunks: int, imagined: bool) -> Layout:
        """The last three chunks are noisy; without `imagined`, it is the sequence that imagines their video."""
        if (chunks, imagined) not in self.layouts:
            copies = self.args.copies if imagined else 0
            self.layouts[chunks, imagined] = Layout(self.config, chunks, copies, noisy_from=max(1, chunks - 3), imagined=imagined)
        return self.layouts[chunks, imagined]

    def loss(self, windows: Windows, rng, generator):
        """(what is minimised, video part, action part, displacement along and across in metres, what the readers miss) of one batch."""
        a, c = self.args, self.config
        long = rng.random() < a.long_share
        chunks = int(rng.integers(6, a.long_chunks + 1)) if long else a.chunks
        layout = self.layout(chunks, True)
        window = windows.draw(chunks, a.batch, rng, *((0.5, 0.7) if long else (0.05, 0.0)))
        clean = arrange(layout, window)
        ego, command = ego_dropout(window.ego, generator, a.ego_dropout), window.command
        given = (command, ego, window.frames)
        times = self.levels.draw(layout, a.batch, generator)
        noise = torch.randn(clean.shape, generator=generator)
        zero = [i for i, g in enumerate(layout.groups) if g.is_action and g.noisy and g.copy == 0]
        times[:, zero] = torch.where(torch.rand(a.batch, len(zero), generator=generator) < 0.8, 1.0, times[:, zero])
        from_zero = torch.tensor([i in zero for i in range(len(layout.groups))])[layout.group]
        noise[:, from_zero] = 0.0
        mixed = interpolate(clean, noise, times[:, layout.group, None])
        mixed, times = self.imagine(layout, mixed, times, given, generator)
        velocity = self.run(layout, mixed, times, given, drop_old_keys(layout, a.batch, generator, 0.6))
        loss, video, action = flow_matching_loss(layout, velocity, clean, noise, weight_video=a.video_weight)
        grouped = lambda x: x[:, from_zero].unflatten(1, (len(zero), c.na))
        answer = grouped(mixed) - times[:, zero, None, None] * grouped(velocity)
        displacement, along, across = displacement_loss(c, answer, grouped(clean), self.metres)
        limit, road = self.limit_loss(layout, window.limit), self.road_loss(layout, window.plan)
        loss = loss + a.displacement_weight * displacement + a.reader_weight * (limit + road)
        return loss, video, action, along, across, limit, road

    def road_loss(self, layout: Layout, plan):
        """Displacement of the expert's plan, read from the last rows of the newest observed video: what they must see of the road."""
        c = self.config
        seen, wanted = [], []
        for group in layout.groups:
            if group.noisy and not group.is_action and not group.imagined:
                seen.append(self.hidden[:, layout.find(group.chunk - 1, False, False)[1].span].flatten(1))
                wanted.append(plan[:, group.chunk])
        answer = self.modules["road"](torch.stack(seen, 1)).unflatten(-1, (c.na, c.action.channels))
        answer = nn.functional.pad(answer, (0, c.token_width - c.action.channels))
        return displacement_loss(c, answer, torch.stack(wanted, 1), self.metres)[0]

    def limit_loss(self, layout: Layout, limit):
        """Cross-entropy of the limit in force, read from the last rows of the noisy actions: what they must remember of the signs. Readers are
        thrown away after training."""
        noisy = torch.tensor([g.is_action and g.noisy for g in layout.groups])[layout.group]
        logits = self.modules["limit"](self.hidden[:, noisy])
        return nn.functional.cross_entropy(logits.flatten(0, 1), limit[:, layout.chunk[noisy]].flatten(), ignore_index=-1)

    def run(self, layout: Layout, tokens, times, given, visible):
        scale = self_scale(visible.sum(-1)) if self.config.self_scale == "log" else None
        command, ego, frames = given
        text, text_bias, ego_kv = context(self.model, self.commands, layout, command, ego)
        return self.model.packed(layout, tokens, times, layout.self_bias(visible), scale, text, text_bias, ego_kv, layout.rope_at(frames))

    @torch.no_grad()
    def imagine(self, layout: Layout, mixed, times, given, generator):
        """Fills the imagined video copies: one Euler step from noise to a flow time that the network is told, 0.6 being what the ride stops at."""
        short = self.layout(layout.chunks, False)
        same = lambda g: layout.find(g.chunk, g.is_action, g.noisy)
        tokens = torch.cat([mixed[:, same(g)[1].span] for g in short.groups], 1)
        levels = torch.stack([times[:, same(g)[0]] for g in short.groups], 1)
        noisy = torch.tensor([g.noisy for g in short.groups])
        span = noisy[short.group]
        noise = torch.randn(tokens[:, span].shape, generator=generator)
        tokens[:, span], levels[:, noisy] = noise, 1.0
        velocity = self.run(short, tokens, levels, given, drop_old_keys(short, len(mixed), generator, 0.6))[:, span]
        end = 0.5 + 0.2 * torch.rand(len(mixed), 1, 1, generator=generator)
        imagined = torch.tensor([g.imagined for g in layout.groups])
        mixed, times = mixed.clone(), times.clone()
        mixed[:, imagined[layout.group]] = noise + velocity * (end - 1.0)
        times[:, imagined] = end[:, :, 0]
        return mixed, times

    def train(self):
        a = self.args
        self.codec = codec = Codec(self.config).eval()
        codec.load_state_dict(load_file(a.codec / "codec.safetensors"))
        if a.blind:
            codec.latent_std.fill_(NO_SIGHT)
        drives = open_all(a.data)
        per_second = round(1.0 / (drives[0].frame_s[1] - drives[0].frame_s[0]))
        latents = encode_all(codec, drives, per_second)
        normalisation = Normalisation.of(drives)
        self.metres = torch.tensor(normalisation.q99 - normalisation.q01, dtype=torch.float32) / 2
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
            loss, *parts = self.loss(windows, rng, generator)
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            decay = min(a.ema, (1 + self.step) / (10 + self.step))
            for name, value in self.modules.state_dict().items():
                self.ema[name].lerp_(value, 1 - decay)
            logged.append([part.item() for part in parts])
            self.spent = base + time.time() - begun
            if self.step % 100 == 0:
                mean = np.mean(logged, 0)
                logged = []
                rate = self.step * a.batch / max(self.spent, 1e-9)
                print(f"policy step {self.step} {self.spent:.0f} s video {mean[0]:.4f} action {mean[1]:.4f} along {mean[2]:.3f} m across {mean[3]:.3f} m limit {mean[4]:.3f} road {mean[5]:.3f} {rate:.1f} windows/s", flush=True)
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
    parser.add_argument("--chunks", type=int, default=4, help="of a short window")
    parser.add_argument("--long-chunks", type=int, default=10, help="of the longest window")
    parser.add_argument("--long-share", type=float, default=0.5, help="of the steps")
    parser.add_argument("--copies", type=int, default=3, help="of noisy actions; the first one starts from zero")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--video-weight", type=float, default=0.5)
    parser.add_argument("--displacement-weight", type=float, default=0.25)
    parser.add_argument("--reader-weight", type=float, default=0.1)
    parser.add_argument("--ego-dropout", type=float, default=0.15)
    parser.add_argument("--blind", action="store_true", help="train without sight, as the control of `drivewam study sight --blind`: every latent is zero")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    Trainer(parser.parse_args()).train()


if __name__ == "__main__":
    main()
