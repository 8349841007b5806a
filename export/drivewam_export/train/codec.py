"""Trains the small codec.

`python -m drivewam_export.train.codec --data DIR --out DIR`

The loss is the absolute error. The newest frame has the largest weight (a light that changes inside
a chunk must show its last state), and unusual pixels have more weight (signs and lamps are a few
pixels). Latents get a little noise, so that the sampler's errors do not ruin the image.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ..codec import Codec
from ..config import load
from .data import Drive, open_all

FRAME_WEIGHTS = (0.35, 0.35, 0.5, 2.8)
LATENT_NOISE = 0.1


def to_frames(pixels: np.ndarray, device="cpu") -> torch.Tensor:
    """Images [..., H, W, 3] u8 to [..., 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.array(pixels)).to(device).movedim(-1, -3).float() / 127.5 - 1.0


def batch(
    drives: list[Drive], size: int, rng: np.random.Generator, per_second: int
) -> torch.Tensor:
    """Random chunks [B, 5, 3, H, W] at 1 Hz. The first frame is the one before the chunk."""
    chunks = []
    for _ in range(size):
        drive = drives[rng.integers(len(drives))]
        first = rng.integers(0, len(drive.frames) - 4 * per_second)
        chunks.append(drive.frames[first : first + 4 * per_second + 1 : per_second])
    return to_frames(np.stack(chunks))


def train(args) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    config = load(args.config)
    codec = Codec(config).to(args.device)
    if args.start:
        codec.load_state_dict(load_file(args.start))
    drives = open_all(args.data)
    per_second = round(1.0 / (drives[0].frame_s[1] - drives[0].frame_s[0]))
    mean = (
        torch.stack(
            [
                to_frames(drives[i].frames[:: 7 * per_second]).mean(0)
                for i in range(0, len(drives), 9)
            ]
        )
        .mean(0)
        .to(args.device)
    )
    weights = torch.tensor(FRAME_WEIGHTS, device=args.device).view(1, -1, 1, 1, 1)
    weights = weights / weights.mean()
    optimiser = torch.optim.AdamW(codec.parameters(), lr=args.rate, weight_decay=1e-4)
    start, step = time.time(), 0
    # Running statistics of the raw latent replace its normalisation while the weights still change.
    while (spent := time.time() - start) < args.minutes * 60:
        for group in optimiser.param_groups:
            share = spent / (args.minutes * 60)
            group["lr"] = (
                args.rate * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * share)) + 1e-5
            )
        frames = batch(drives, args.batch, rng, per_second).to(args.device)
        target = frames[:, 1:]
        if step % 8 == 0:
            target = frames[:, 4:].expand(-1, 4, -1, -1, -1)
            latent, _ = codec.encode_first(frames[:, 4:])
        else:
            _, cache = codec.encode_first(frames[:, :1])
            latent, _ = codec.encode(frames[:, 1:], cache)
        spread = latent.std(dim=(0, 2, 3), keepdim=True).detach()
        noisy = latent + LATENT_NOISE * spread * torch.randn_like(latent)
        error = (codec.decoder(noisy) - target).abs()
        distance = (target - mean).abs().amax(2, keepdim=True)
        unusual = 1.0 + 2.0 * distance + 16.0 * distance.square()
        loss = (error * unusual * weights).mean() + 1e-4 * latent.square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 100 == 0:
            newest = error[:, -1].mean().item()
            print(
                f"codec step {step} {spent:.0f} s loss {loss.item():.4f} newest-frame error {newest * 127.5:.2f}/255",
                flush=True,
            )
    with torch.no_grad():
        frames = batch(drives, 256, rng, per_second)
        latents = []
        for part in frames.split(32):
            _, cache = codec.encode_first(part[:, :1].to(args.device))
            latents.append(codec.encode(part[:, 1:].to(args.device), cache)[0])
        joined = torch.cat(latents)
        codec.latent_mean.copy_(joined.mean(dim=(0, 2, 3)).view(-1, 1, 1))
        codec.latent_std.copy_(joined.std(dim=(0, 2, 3)).clamp_min(1e-3).view(-1, 1, 1))
    args.out.mkdir(parents=True, exist_ok=True)
    partial = args.out / "codec.safetensors.partial"
    save_file({k: v.contiguous().cpu() for k, v in codec.state_dict().items()}, partial)
    partial.rename(args.out / "codec.safetensors")
    print(
        f"codec done: {step} steps, {sum(p.numel() for p in codec.parameters())} parameters",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a codec.safetensors to start from")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
