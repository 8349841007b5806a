"""The encoder of diffusers' `AutoencoderKLWan` as two streaming graphs with an explicit causal
cache.

`vae_encode_first` takes one frame, `vae_encode` the four frames of a chunk; both return the
normalised mean latent. Frames are the batch axis: a clip is `[F, C, H, W]`, a causal Conv3d is the
sum over its time taps of a Conv2d on shifted frames, and no tensor has three spatial dimensions.

A cache is `[frames, C, H, W]`: the two frames before the chunk of each 3-tap convolution's input,
or the one before it where time is halved. Caches come in the order in which the network reads them.

Every configuration of the class whose four frames make one latent is supported, Wan2.1's and
Wan2.2's (`is_residual`, `patch_size`) among them. Others raise ExportError.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders import autoencoder_kl_wan as wan
from torch import nn
from torch.nn import functional as F

from .folder import ExportError


class Stream:
    """The caches of one call, read and replaced in the same order. `before` None: there was no
    frame before this one."""

    def __init__(self, before: list[torch.Tensor] | None):
        self.before, self.after = before, []

    def take(self) -> torch.Tensor | None:
        return None if self.before is None else self.before[len(self.after)]

    def give(self, cache: torch.Tensor) -> None:
        self.after.append(cache)


def earlier_zeros(x, count: int):
    """`count` black frames before `x`."""
    return F.pad(x, (0, 0, 0, 0, 0, 0, count, 0))


class CausalConv(nn.Module):
    """A causal Conv3d of stride 1 in time. `weights[k]` [O, I, kh, kw] is time tap k, the newest
    frame last."""

    def __init__(self, conv: wan.WanCausalConv3d, outputs: int | None = None, patch: int = 1):
        super().__init__()
        weight, bias = conv.weight.detach()[:outputs], conv.bias.detach()[:outputs]
        # Input channels from diffusers' (colour, column, row) to pixel_unshuffle's (colour, row,
        # column).
        if patch > 1:
            weight = weight.unflatten(1, (-1, patch, patch)).transpose(2, 3).flatten(1, 3)
        self.weights = nn.ParameterList(
            nn.Parameter(weight[:, :, k].contiguous()) for k in range(weight.shape[2])
        )
        self.bias = nn.Parameter(bias.clone())
        self.padding = (conv._padding[2], conv._padding[0])

    def tap(self, k: int, x, bias=None):
        return F.conv2d(x, self.weights[k], bias, padding=self.padding)

    def forward(self, x, stream: Stream):
        history = len(self.weights) - 1
        if history == 0:
            return self.tap(0, x, self.bias)
        before = stream.take()
        if before is None:  # only the newest tap sees anything but zeros
            stream.give(earlier_zeros(x, history)[-history:])
            return self.tap(history, x, self.bias)
        frames, joined = int(x.shape[0]), torch.cat([before, x])
        stream.give(joined[-history:])
        out = self.tap(0, joined.narrow(0, 0, frames), self.bias)
        for k in range(1, history + 1):
            out = out + self.tap(k, joined.narrow(0, k, frames))
        return out


class Norm(nn.Module):
    """Scales every pixel's channels to unit length, times sqrt(C) and a gain."""

    def __init__(self, norm: wan.WanRMS_norm):
        super().__init__()
        self.scale = norm.scale
        self.gamma = nn.Parameter(norm.gamma.detach().reshape(-1, 1, 1).clone())

    def forward(self, x):
        length = x.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
        return x / length * self.scale * self.gamma


class Residual(nn.Module):
    def __init__(self, block: wan.WanResidualBlock):
        super().__init__()
        self.norm1, self.conv1 = Norm(block.norm1), CausalConv(block.conv1)
        self.norm2, self.conv2 = Norm(block.norm2), CausalConv(block.conv2)
        self.shortcut = (
            None
            if isinstance(block.conv_shortcut, nn.Identity)
            else CausalConv(block.conv_shortcut)
        )

    def forward(self, x, stream: Stream):
        straight = x if self.shortcut is None else self.shortcut(x, stream)
        x = self.conv1(F.silu(self.norm1(x)), stream)
        return straight + self.conv2(F.silu(self.norm2(x)), stream)


class Attention(nn.Module):
    """One attention head over the pixels of each frame."""

    def __init__(self, block: wan.WanAttentionBlock):
        super().__init__()
        self.norm, self.to_qkv, self.proj = Norm(block.norm), block.to_qkv, block.proj

    def forward(self, x, stream: Stream):
        channels, height, width = (int(n) for n in x.shape[1:])
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).chunk(3, dim=1)  # [F, C, H*W]
        weights = ((q * channels**-0.5).transpose(1, 2) @ k).softmax(-1)
        return x + self.proj((v @ weights.transpose(1, 2)).unflatten(2, (height, width)))


class Halve(nn.Module):
    """Halves height and width and, in `downsample3d`, the frames. A first frame keeps its time
    step."""

    def __init__(self, block: wan.WanResample):
        super().__init__()
        if block.mode not in ("downsample2d", "downsample3d"):
            raise ExportError(
                f"AutoencoderKLWan: encoder resampling: got {block.mode!r}, wanted downsample2d or downsample3d"
            )
        self.resample = block.resample
        self.time = CausalConv(block.time_conv) if block.mode == "downsample3d" else None

    def forward(self, x, stream: Stream):
        x = self.resample(x)
        if self.time is None:
            return x
        before = stream.take()
        stream.give(x[-1:])
        if before is None:
            return x
        joined, last = torch.cat([before, x]), int(x.shape[0]) - 1
        out = self.time.tap(0, joined.narrow(0, 0, last)[::2], self.time.bias)
        for k in (1, 2):
            out = out + self.time.tap(k, joined.narrow(0, k, last)[::2])
        return out


class AverageDown(nn.Module):
    """The shortcut of a residual stage: stacks pixels (and pairs of frames) into channels, then
    takes means of neighbouring channels."""

    def __init__(self, block: wan.AvgDown3D):
        super().__init__()
        self.time, self.space, self.outputs = block.factor_t, block.factor_s, block.out_channels

    def forward(self, x):
        if self.time > 1 and x.shape[0] % self.time:
            x = earlier_zeros(x, self.time - int(x.shape[0]) % self.time)
        channels = int(x.shape[1])
        if self.space > 1:
            x = F.pixel_unshuffle(x, self.space)
        height, width = int(x.shape[2]), int(x.shape[3])
        if self.time > 1:  # channel order (channel, frame, row, column)
            parts = [
                x[k :: self.time].unflatten(1, (channels, -1)).flatten(3) for k in range(self.time)
            ]
            x = torch.cat(parts, 2)
        x = x.reshape(int(x.shape[0]), self.outputs, -1, height * width)
        return x.mean(2).unflatten(2, (height, width))


class ResidualStage(nn.Module):
    """Wan2.2's residual stage."""

    def __init__(self, block: wan.WanResidualDownBlock):
        super().__init__()
        self.shortcut = AverageDown(block.avg_shortcut)
        layers = [*block.resnets] + ([block.downsampler] if block.downsampler is not None else [])
        self.layers = nn.ModuleList(convert(layer) for layer in layers)

    def forward(self, x, stream: Stream):
        short = self.shortcut(x)
        for layer in self.layers:
            x = layer(x, stream)
        return x + short


def convert(module: nn.Module) -> nn.Module:
    """The streaming counterpart of one of diffusers' layers."""
    kinds = {
        wan.WanResidualBlock: Residual,
        wan.WanAttentionBlock: Attention,
        wan.WanResample: Halve,
        wan.WanResidualDownBlock: ResidualStage,
    }
    if type(module) not in kinds:
        raise ExportError(
            f"AutoencoderKLWan: cannot stream a layer of type {type(module).__name__}"
        )
    return kinds[type(module)](module)


class WanEncoder(nn.Module):
    def __init__(self, vae: AutoencoderKLWan):
        super().__init__()
        c, encoder = vae.config, vae.encoder
        self.patch = c.patch_size or 1
        halvings = sum(
            isinstance(m, wan.WanResample) and m.mode == "downsample3d" for m in encoder.modules()
        )
        checks = [
            (
                "temperal_downsample",
                halvings == 2,
                f"{halvings} halvings of time",
                "2: four frames to one latent",
            ),
            (
                "in_channels",
                c.in_channels == 3 * self.patch**2,
                c.in_channels,
                "3 colours times patch_size squared",
            ),
            (
                "latents_mean",
                len(c.latents_mean) == c.z_dim,
                f"{len(c.latents_mean)} numbers",
                f"z_dim = {c.z_dim}",
            ),
            (
                "latents_std",
                len(c.latents_std) == c.z_dim,
                f"{len(c.latents_std)} numbers",
                f"z_dim = {c.z_dim}",
            ),
        ]
        for key, good, got, wanted in checks:
            if not good:
                raise ExportError(f"AutoencoderKLWan: {key}: got {got}, wanted {wanted}")
        mid = encoder.mid_block
        order = [mid.resnets[0]] + [
            layer for pair in zip(mid.attentions, mid.resnets[1:]) for layer in pair
        ]
        self.conv_in = CausalConv(encoder.conv_in, patch=self.patch)
        self.layers = nn.ModuleList(convert(layer) for layer in [*encoder.down_blocks, *order])
        self.norm_out, self.conv_out = Norm(encoder.norm_out), CausalConv(encoder.conv_out)
        self.quant_conv = CausalConv(vae.quant_conv, outputs=c.z_dim)  # the mean's half
        self.register_buffer("latent_mean", torch.tensor(c.latents_mean).view(-1, 1, 1))
        self.register_buffer("latent_std", torch.tensor(c.latents_std).view(-1, 1, 1))

    def forward(self, frames, before: list[torch.Tensor] | None):
        """Frames [1 or 4, 3, Hpx, Wpx] in [-1, 1] to latent [Cz, Hz, Wz] and next caches."""
        stream = Stream(before)
        x = F.pixel_unshuffle(frames, self.patch) if self.patch > 1 else frames
        x = self.conv_in(x, stream)
        for layer in self.layers:
            x = layer(x, stream)
        x = self.conv_out(F.silu(self.norm_out(x)), stream)
        latent = self.quant_conv(x, stream)[0]
        return (latent - self.latent_mean) / self.latent_std, stream.after


class EncodeFirst(nn.Module):
    """Graph `vae_encode_first`: frames [1, 3, Hpx, Wpx] to latent, cache_out.i."""

    def __init__(self, codec: WanEncoder):
        super().__init__()
        self.codec = codec

    def forward(self, frames):
        latent, caches = self.codec(frames, None)
        return (latent, *caches)


class Encode(nn.Module):
    """Graph `vae_encode`: frames [4, 3, Hpx, Wpx], cache_in.i to latent, cache_out.i."""

    def __init__(self, codec: WanEncoder):
        super().__init__()
        self.codec = codec

    def forward(self, frames, *caches):
        latent, after = self.codec(frames, list(caches))
        return (latent, *after)


def random_vae(seed: int, base_dim: int = 8, **changes) -> AutoencoderKLWan:
    """Wan2.2's configuration at a small width, with random weights, gains and latent statistics."""
    g = torch.Generator().manual_seed(seed)
    z = changes.get("z_dim", 48)
    options = {
        "base_dim": base_dim,
        "z_dim": z,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "is_residual": True,
        "patch_size": 2,
        "in_channels": 12,
        "out_channels": 12,
        "scale_factor_spatial": 16,
        "latents_mean": (torch.randn(z, generator=g) * 0.5).tolist(),
        "latents_std": (torch.rand(z, generator=g) + 0.5).tolist(),
    }
    torch.manual_seed(seed)
    vae = AutoencoderKLWan(**(options | changes)).eval()
    with torch.no_grad():
        for name, value in vae.named_parameters():
            if name.endswith("gamma"):
                value.add_(0.3 * torch.randn(value.shape, generator=g))
    return vae


def open_vae(spec: str) -> AutoencoderKLWan:
    """Opens a diffusers folder (`config.json` and weights), or `random:SEED`."""
    if spec.startswith("random:"):
        return random_vae(int(spec.removeprefix("random:")))
    return AutoencoderKLWan.from_pretrained(spec, torch_dtype=torch.float32).eval()
