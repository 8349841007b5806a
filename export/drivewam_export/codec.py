"""The small codec of `tiny`: four frames to one latent and back, with the contract of the paper's
VAE.

The encoder brings every frame to the latent's grid (stride 8); the stem features of the chunk's
frames and of the frame before it are concatenated and mixed by a few residual convolutions. The
features of the frame before reach the chunk through the causal cache. A first frame goes through
the same weights, repeated for the whole chunk, with an empty cache. Latents are normalised per
channel. All operations are 2-D.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .config import ModelConfig

STEM = 24
WIDTH = 96
EXPAND = 2


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width * EXPAND, 1)
        self.conv2 = nn.Conv2d(width * EXPAND, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Encoder(nn.Module):
    """Frames [B, F, 3, Hpx, Wpx] in [-1, 1] and the stem features of the frame before, to a raw
    latent [B, Cz, Hz, Wz]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.frames = config.image.frames_per_latent
        self.block = config.image.height // config.latent.height
        self.conv_in = nn.Conv2d(3 * 16, 32, 3, padding=1)
        self.conv_down = nn.Conv2d(32, STEM * 2, 3, stride=2, padding=1)
        self.conv_stem = nn.Conv2d(STEM * 2, STEM, 1)
        self.conv_mix = nn.Conv2d(STEM * (self.frames + 1), WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(Residual(WIDTH) for _ in range(2))
        self.conv_out = nn.Conv2d(WIDTH, config.latent.channels, 1)

    def stem(self, frames):
        """[N, 3, Hpx, Wpx] to [N, STEM, Hz, Wz]."""
        x = F.pixel_unshuffle(frames, 4)
        return self.conv_stem(F.silu(self.conv_down(F.silu(self.conv_in(x)))))

    def mix(self, stems):
        """Stem features [B, (F+1)*STEM, Hz, Wz], oldest first, to the raw latent."""
        x = self.conv_mix(stems)
        for block in self.blocks:
            x = block(x)
        return self.conv_out(F.silu(x))


class Decoder(nn.Module):
    """A raw latent [B, Cz, Hz, Wz] to the chunk's frames [B, F, 3, Hpx, Wpx]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.frames = config.image.frames_per_latent
        self.conv_in = nn.Conv2d(config.latent.channels, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(Residual(WIDTH) for _ in range(3))
        self.conv_up = nn.Conv2d(WIDTH, 4 * 48, 1)
        self.conv_mid = nn.Conv2d(48, 64, 3, padding=1)
        self.conv_out = nn.Conv2d(64, self.frames * 3 * 16, 3, padding=1)

    def forward(self, latent):
        x = self.conv_in(latent)
        for block in self.blocks:
            x = block(x)
        x = F.pixel_shuffle(self.conv_up(F.silu(x)), 2)
        x = self.conv_out(F.silu(self.conv_mid(F.silu(x))))
        frames = F.pixel_shuffle(x, 4)
        return frames.view(frames.shape[0], self.frames, 3, *frames.shape[-2:])


class Codec(nn.Module):
    """Encoder, decoder and latent statistics; its state dict is `codec.safetensors`."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        if (
            config.image.height != config.latent.height * 8
            or config.image.width != config.latent.width * 8
        ):
            raise ValueError(
                "the small codec has a stride of 8: the image must be 8 times the latent"
            )
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent.channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(config.latent.channels, 1, 1))

    def encode_first(self, frames):
        """Frames [B, 1, 3, Hpx, Wpx] to (normalised latent, cache)."""
        stem = self.encoder.stem(frames[:, 0])
        empty = torch.zeros_like(stem)
        raw = self.encoder.mix(torch.cat([empty] + [stem] * self.encoder.frames, dim=1))
        return (raw - self.latent_mean) / self.latent_std, stem

    def encode(self, frames, cache):
        """Frames [B, F, 3, Hpx, Wpx] and the cache [B, STEM, Hz, Wz] to (normalised latent, next
        cache)."""
        stems = [self.encoder.stem(frames[:, i]) for i in range(self.encoder.frames)]
        raw = self.encoder.mix(torch.cat([cache, *stems], dim=1))
        return (raw - self.latent_mean) / self.latent_std, stems[-1]

    def decode(self, latent):
        """A normalised latent [B, Cz, Hz, Wz] to frames."""
        return self.decoder(latent * self.latent_std + self.latent_mean)


class EncodeFirst(nn.Module):
    """Graph `vae_encode_first`: frames [1, 3, Hpx, Wpx] to latent, cache_out.0."""

    def __init__(self, codec: Codec):
        super().__init__()
        self.codec = codec

    def forward(self, frames):
        latent, cache = self.codec.encode_first(frames[None])
        return latent[0], cache


class Encode(nn.Module):
    """Graph `vae_encode`: frames [F, 3, Hpx, Wpx], cache_in.0 to latent, cache_out.0."""

    def __init__(self, codec: Codec):
        super().__init__()
        self.codec = codec

    def forward(self, frames, cache):
        stems = self.codec.encoder.stem(frames)
        joined = torch.cat([cache.flatten(0, 1), stems.flatten(0, 1)], dim=0)[None]
        raw = self.codec.encoder.mix(joined)
        return ((raw - self.codec.latent_mean) / self.codec.latent_std)[0], stems[-1:]


class Decode(nn.Module):
    """Graph `vae_decode`: latent to frames [F, 3, Hpx, Wpx]."""

    def __init__(self, codec: Codec):
        super().__init__()
        self.codec = codec

    def forward(self, latent):
        return self.codec.decode(latent[None])[0].clamp(-1.0, 1.0)
