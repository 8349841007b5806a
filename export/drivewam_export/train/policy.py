"""Trains the small policy on latents.

`python -m drivewam_export.train.policy --data DIR --codec DIR --out DIR --minutes M`

Training has one phase. A step has short windows, long windows (many of them where memory is
needed), or windows that reach through a whole drive. Keys older than the newest chunk are dropped
at random, as a bounded memory drops them. Noisy actions see the video that the model itself
predicted, never the true one. One of the action copies starts from zero instead of noise, and its
mean displacement in metres is part of the loss: a ride with `flow.action.start: zero` begins so. A
checkpoint holds the whole training state and is written atomically.

With `--guidance`, only the weights that read texts are trained, of an existing policy (`--start`):
windows get the small VLM's texts, the command, or no text.
"""

from __future__ import annotations

import json
import math
import re
import signal
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from ..codec import Codec
from ..config import load
from ..folder import CODEC_FILES, RANGES, open_checkpoint, stored_weights
from ..loss import NoiseLevels, displacement_loss, flow_matching_loss, interpolate
from ..model import DriveWam
from ..packed import Layout, self_scale
from .augmentation import drop_old_keys, ego_dropout
from .data import COMMANDS, LIMITS_MPS, Normalisation, open_all
from .driven import DrivenWindows
from .latents import encode_all
from .policy_options import options
from .ranges import trained_ranges
from .readers import limit_loss, road_loss
from .texts import Texts, config_with_text_rows, context, encode, read_generated
from .windows import Window, Windows, arrange

# Auxiliary linear heads (probes), discarded after training.
READERS = ("limit", "road")
# Weights that read texts.
READS_TEXT = re.compile(
    r"policy\.(blocks\.\d+\.(attn2|norm2)|condition_embedder\.text_embedder)\.|commands\."
)
# Chunks of a window that reaches through a whole drive.
WHOLE = (16, 32, 64)
# A standard deviation so large that latents divided by it vanish.
BLIND_STD = 1e30


class Trainer:
    def __init__(self, args):
        self.args = args
        torch.set_num_threads(args.threads)
        torch.manual_seed(args.seed)
        self.device = torch.device(args.device)
        self.config = (
            config_with_text_rows(load(args.config), args.guidance)
            if args.guidance
            else load(args.config)
        )
        self.model = DriveWam(self.config)
        self.drives = open_all(args.data)
        self.policy_drives = [drive for folder in args.driven for drive in open_all(folder)]
        self.text_ids, generated, self.normalisation = None, [], None
        # Training record and ranges of the policy whose text weights are trained.
        self.before, self.ranges = {}, None
        if args.guidance:
            self.text_ids, generated = read_generated(self.drives + self.policy_drives)
            generated = encode(
                args.guidance, generated, self.config.text.dim, self.config.text.max_rows
            )
        self.texts = Texts(self.config, generated)
        c = self.config
        readers = dict(
            zip(
                READERS,
                (
                    nn.Linear(c.dim, len(LIMITS_MPS)),
                    nn.Linear(c.nv * c.dim, c.na * c.action.channels),
                ),
            )
        )
        self.modules = nn.ModuleDict({"policy": self.model, "commands": self.texts, **readers}).to(
            self.device
        )
        self.model.norm_out.register_forward_hook(
            lambda _module, _inputs, rows: setattr(self, "hidden", rows)
        )
        self.ema = {k: v.detach().clone() for k, v in self.modules.state_dict().items()}
        for name, weight in self.modules.named_parameters():
            weight.requires_grad_(not args.guidance or READS_TEXT.match(name) is not None)
        trained = [weight for weight in self.modules.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.AdamW(
            trained,
            lr=args.rate,
            betas=(0.9, 0.95),
            weight_decay=0.02,
            fused=self.device.type == "cuda",
        )
        self.step, self.windows, self.spent = 0, 0, 0.0
        self.levels = NoiseLevels(
            video_shift=2.0, action_shift=1.0, history_probability=0.2, history_max=0.6
        )
        self.stop = False
        self.layouts: dict[tuple, Layout] = {}
        if args.guidance and not args.start:
            raise SystemExit("--guidance trains an existing policy: name it by --start")
        if args.start:
            self.load(args.start)

    def load(self, folder: Path):
        if not self.args.resume and not (folder / "training.pt").exists():
            return self.load_exported(folder)
        state = torch.load(folder / "training.pt", map_location=self.device, weights_only=True)
        differs = sorted(set(state["modules"]) ^ set(self.modules.state_dict()))
        if any(name.split(".")[0] not in READERS for name in differs) or (
            differs and self.args.resume
        ):
            raise SystemExit(
                f"--start {folder}: other weights than this model's (differ: {', '.join(differs)}; "
                f"wanted none{', as --resume needs' if self.args.resume else ''})"
            )
        for name in differs:
            print(
                f"--start {folder}: {'new' if name in self.ema else 'left out'}: {name}", flush=True
            )
        known = {name: value for name, value in state["modules"].items() if name in self.ema}
        self.modules.load_state_dict(self.modules.state_dict() | known)
        self.ema |= {name: value for name, value in state["ema"].items() if name in self.ema}
        if self.args.resume:
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.windows, self.spent = state["step"], state["windows"], state["spent"]

    def load_exported(self, folder: Path):
        """Loads an exported folder, which has neither readers nor optimiser state."""
        opened = open_checkpoint(str(folder), self.config)
        self.normalisation = Normalisation.from_dict(opened.normalisation["action"])
        if self.args.guidance:
            self.before, self.ranges = opened.record, opened.trained_ranges
        self.model.load_state_dict(opened.model.state_dict())
        with torch.no_grad():
            self.texts.rows.copy_(torch.stack([opened.rows[name] for name in COMMANDS]))
        self.ema = {name: value.clone() for name, value in self.modules.state_dict().items()}

    def save(self):
        out = self.args.out
        out.mkdir(parents=True, exist_ok=True)

        def write(name, how):
            how(out / (name + ".partial"))
            (out / (name + ".partial")).rename(out / name)

        pick = lambda prefix: {
            k.removeprefix(prefix): v.cpu().contiguous()
            for k, v in self.ema.items()
            if k.startswith(prefix)
        }
        write("policy.safetensors", lambda p: save_file(pick("policy."), p))
        rows = self.ema["commands.rows"]
        write(
            "commands.safetensors",
            lambda p: save_file({n: rows[i].cpu().contiguous() for i, n in enumerate(COMMANDS)}, p),
        )
        write(
            "codec.safetensors",
            lambda p: save_file({k: v.cpu() for k, v in self.codec.state_dict().items()}, p),
        )
        dump = lambda value: lambda p: p.write_text(yaml.safe_dump(value, sort_keys=False))
        write("normalisation.yaml", dump({"action": self.normalisation.to_dict()}))
        write(RANGES, dump(self.ranges))
        write("training.yaml", dump(self.record()))
        state = {
            "modules": self.modules.state_dict(),
            "ema": self.ema,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "windows": self.windows,
            "spent": self.spent,
        }
        write("training.pt", lambda p: torch.save(state, p))

    def layout(self, chunks: int, imagined: bool) -> Layout:
        """The layout of a sequence whose last three chunks are noisy. Without `imagined`, it is the
        sequence that predicts their video."""
        if (chunks, imagined) not in self.layouts:
            copies = self.args.copies if imagined else 0
            layout = Layout(
                self.config, chunks, copies, noisy_from=max(1, chunks - 3), imagined=imagined
            )
            self.layouts[chunks, imagined] = layout.to(self.device)
        return self.layouts[chunks, imagined]

    def window(self, windows: Windows, rng) -> tuple[Layout, Window]:
        """A batch of short windows, of long ones, or of ones that reach through a whole drive; of
        the latter so many that the step costs no more."""
        a = self.args
        if self.driven is not None and rng.random() < a.driven_share:
            return self.layout(a.chunks, True), self.driven.draw_driven(a.chunks, a.batch, rng)
        whole_share = a.whole_share if self.whole else 0.0
        kind = rng.choice(3, p=(1 - a.long_share - whole_share, a.long_share, whole_share))
        if kind == 0:
            return self.layout(a.chunks, True), windows.draw(a.chunks, a.batch, rng, 0.05, 0.0)
        if kind == 1:
            chunks = int(rng.integers(6, a.long_chunks + 1))
            return self.layout(chunks, True), windows.draw(chunks, a.batch, rng, 0.5, 0.7)
        chunks = int(rng.choice(self.whole))
        layout = self.layout(chunks, True)
        rows = max(1, a.batch * self.layout(a.long_chunks, True).length // (2 * layout.length))
        return layout, windows.draw(chunks, rows, rng, 0.5, 1.0)

    def loss(self, layout: Layout, window: Window, generator):
        """Returns (total, video part, action part, displacement along and across in metres, losses
        of the limit and road readers) of one batch."""
        a, c = self.args, self.config
        draw = lambda how, *shape: how(*shape, generator=generator, device=self.device)
        clean = arrange(layout, window)
        rows = len(clean)
        given = (window.text_ids, ego_dropout(window.ego, generator, a.ego_dropout), window.frames)
        times = self.levels.draw(layout, rows, generator)
        noise = draw(torch.randn, *clean.shape)
        first = {"is_action": True, "noisy": True, "copy": 0}
        zero, from_zero = layout.which(**first), layout.rows(**first)
        times[:, zero] = torch.where(draw(torch.rand, rows, len(zero)) < 0.8, 1.0, times[:, zero])
        noise[:, from_zero] = 0.0
        mixed = interpolate(clean, noise, times[:, layout.group, None])
        mixed, times = self.imagine(layout, mixed, times, given, generator)
        velocity = self.run(
            layout, mixed, times, given, drop_old_keys(layout, rows, generator, 0.6)
        )
        loss, video, action = flow_matching_loss(
            layout, velocity, clean, noise, weight_video=a.video_weight
        )
        grouped = lambda x: x[:, from_zero].unflatten(1, (len(zero), c.na))
        answer = grouped(mixed) - times[:, zero, None, None] * grouped(velocity)
        displacement, along, across = displacement_loss(c, answer, grouped(clean), self.metres)
        limit = limit_loss(self.modules["limit"], self.hidden, layout, window.limit)
        road = road_loss(self.modules["road"], c, self.hidden, layout, window.plan, self.metres)
        loss = loss + a.displacement_weight * displacement + a.reader_weight * (limit + road)
        return loss, video, action, along, across, limit, road

    def run(self, layout: Layout, tokens, times, given, visible):
        """One pass. On a GPU, products and attention are in bf16, the rest in f32."""
        scale = self_scale(visible.sum(-1)) if self.config.self_scale == "log" else None
        text_ids, ego, frames = given
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            text, text_bias, ego_kv = context(self.model, self.texts, layout, text_ids, ego)
            bias, rope = layout.self_bias(visible), layout.rope_at(frames)
            return self.model.packed(
                layout, tokens, times, bias, scale, text, text_bias, ego_kv, rope
            ).float()

    @torch.no_grad()
    def imagine(self, layout: Layout, mixed, times, given, generator):
        """Fills the imagined video copies: one Euler step from noise to a random flow time, which
        the network is given. A ride stops at 0.6."""
        short = self.layout(layout.chunks, False)
        groups, rows = short.shared(layout)
        tokens, levels = mixed[:, rows], times[:, groups]
        span = short.rows(noisy=True)
        noise = torch.randn(
            len(mixed), len(span), tokens.shape[-1], generator=generator, device=self.device
        )
        tokens[:, span] = noise
        levels[:, short.which(noisy=True)] = 1.0
        velocity = self.run(
            short, tokens, levels, given, drop_old_keys(short, len(mixed), generator, 0.6)
        )[:, span]
        end = 0.5 + 0.2 * torch.rand(len(mixed), 1, 1, generator=generator, device=self.device)
        mixed, times = mixed.clone(), times.clone()
        mixed[:, layout.rows(imagined=True)] = noise + velocity * (end - 1.0)
        times[:, layout.which(imagined=True)] = end[:, :, 0]
        return mixed, times

    def open_data(self):
        """Puts all training data on the device."""
        a = self.args
        self.codec = codec = Codec(self.config).eval()
        codec.load_state_dict(stored_weights(a.codec, "codec.safetensors", CODEC_FILES)[0].all())
        codec.to(self.device)
        if a.blind:
            codec.latent_std.fill_(BLIND_STD)
        drives = self.drives
        per_second = round(1.0 / (drives[0].frame_s[1] - drives[0].frame_s[0]))
        self.normalisation = n = self.normalisation or Normalisation.of(drives)
        self.ranges = self.ranges or trained_ranges(drives + self.policy_drives)
        self.metres = torch.tensor((n.q99 - n.q01) / 2, dtype=torch.float32, device=self.device)

        def windows(kind, drives, text_ids):
            latents = encode_all(codec, drives, per_second)
            return kind(self.config, drives, latents, n, per_second, self.device, text_ids)

        driven, ids = self.policy_drives, self.text_ids
        self.data = windows(Windows, drives, ids and ids[: len(drives)])
        self.driven = windows(DrivenWindows, driven, ids and ids[len(drives) :]) if driven else None

    def train(self):
        a, windows = self.args, self.data
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(self, "stop", True))
        self.whole = [chunks for chunks in WHOLE if windows.fits(chunks)]
        rng = np.random.default_rng(a.seed + self.step)
        generator = torch.Generator(self.device).manual_seed(a.seed + self.step)
        begun, base = time.time(), self.spent
        saved, shown, logged, rows = begun, begun, [], 0
        print(
            f"{len(windows.drives)} drives, {len(windows.needed)} windows that need memory, "
            f"{sum(p.numel() for p in self.model.parameters())} parameters",
            flush=True,
        )
        values = list(self.modules.state_dict().values())
        averages = [self.ema[name] for name in self.modules.state_dict()]
        while (
            share := self.step / a.steps if a.steps else self.spent / (a.minutes * 60)
        ) < 1 and not self.stop:
            for group in self.optimiser.param_groups:
                group["lr"] = (
                    a.rate
                    * min(1.0, (self.step + 1) / a.warmup)
                    * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
                )
            layout, window = self.window(windows, rng)
            loss, *parts = self.loss(layout, window, generator)
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            torch._foreach_lerp_(
                averages, values, 1 - min(a.ema, (1 + self.step) / (10 + self.step))
            )
            logged.append(torch.stack(parts).detach())
            rows += len(window.frames)
            self.windows += len(window.frames)
            if self.step % 100 == 0:
                mean, now = torch.stack(logged).mean(0).tolist(), time.time()
                names = ("video", "action", "along_m", "across_m", "limit", "road_m")
                print(
                    f"policy step {self.step} {self.spent:.0f} s",
                    *(f"{n} {x:.3f}" for n, x in zip(names, mean)),
                    f"{rows / (now - shown):.1f} windows/s",
                    flush=True,
                )
                shown, logged, rows = now, [], 0
            self.spent = base + time.time() - begun
            if time.time() - saved > a.save_seconds:
                self.save()
                saved = time.time()
        self.save()
        print("policy done", flush=True)

    def record(self) -> dict:
        a = vars(self.args)
        options = {
            k: (str(v) if isinstance(v, Path) else v)
            for k, v in a.items()
            if k not in ("data", "driven", "codec", "out", "start", "guidance")
        }
        record = {
            "steps": self.step,
            "windows": self.windows,
            "seconds": round(self.spent),
            "drives": len(self.data.drives) + len(self.policy_drives),
            "options": json.loads(json.dumps(options)),
        }
        return self.before | {"text_weights": record} if self.args.guidance else record


def main() -> None:
    # Until the first step nothing is there to save: both signals end the program.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    trainer = Trainer(options(__doc__.splitlines()[0]).parse_args())
    trainer.open_data()
    trainer.train()


if __name__ == "__main__":
    main()
