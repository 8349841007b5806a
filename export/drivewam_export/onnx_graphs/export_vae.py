"""Exports the streaming encoder of diffusers' `AutoencoderKLWan` (wan_vae.py) without a policy.

`python -m drivewam_export.onnx_graphs.export_vae --vae DIR|random:SEED --out DIR`

Writes a folder with `vae_encode_first`, `vae_encode` and a manifest.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

from ..config import ModelConfig, load
from ..folder import RANDOM_NORMALISATION, Checkpoint, ExportError
from ..streamed import in_memory
from ..wan_vae import WanEncoder, open_vae
from .export import write_folder
from .graphs import wan_vae_graphs
from .precision import PRECISIONS


def small_model(config: ModelConfig) -> ModelConfig:
    """`config` with images of 64x96 pixels and the latents that Wan2.2's VAE makes of them."""
    image = dataclasses.replace(config.image, height=64, width=96)
    latent = dataclasses.replace(config.latent, channels=48, height=4, width=6)
    return dataclasses.replace(config, name="wan-vae-small", image=image, latent=latent)


def codec_only(config: ModelConfig) -> Checkpoint:
    """A checkpoint without a policy. Its folder can encode but cannot drive: the command embeddings
    are zeros and the normalisation is a placeholder, because a manifest must have both."""
    rows = {name: torch.zeros(1, config.text.dim) for name in config.text.commands}
    return Checkpoint(config, None, None, rows, RANDOM_NORMALISATION, {"weights": "a codec alone"})


def main() -> None:
    root = Path(__file__).resolve().parents[3]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--vae", required=True, help="a diffusers folder of AutoencoderKLWan, or random:SEED"
    )
    parser.add_argument(
        "--config", type=Path, help="the model that gives the image size; default: 64x96 pixels"
    )
    parser.add_argument(
        "--precision",
        choices=("f32", "f16"),
        default="f32",
        help="type of weights and products (precision.py)",
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        config = (
            load(args.config)
            if args.config
            else small_model(load(root / "configs/model/tiny.yaml"))
        )
        codec = WanEncoder(open_vae(args.vae)).eval()
        graphs, weights = wan_vae_graphs(codec, config), {"codec.": in_memory(codec.state_dict())}
        write_folder(
            codec_only(config),
            args.out,
            f"portable-{args.precision}",
            graphs,
            weights,
            PRECISIONS[args.precision],
        )
    except ExportError as error:
        sys.exit(f"export_vae: {error}")


if __name__ == "__main__":
    main()
