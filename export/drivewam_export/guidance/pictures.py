"""Writes the results of Qwen3-VL's image processor for the runtime's tests.

`python -m drivewam_export.guidance.pictures --out DIR`

The processor is the Pillow one of `transformers`: its bits are the same on every machine, those of
torchvision's depend on the processor family. Each image has a safetensors file (`rgb` [H, W, 3] u8,
`resized` u8, `pixel_values` [P, C*tp*ps*ps] f32, `grid_thw` [1, 3] i64); `index.json` has the
settings of each.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, SizeDict
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from ..folder import ExportError, atomic_folder

REAL = Path(__file__).resolve().parents[4] / "shared/data/pandaset_002/camera/front_camera/40.jpg"
# Qwen3-VL's preprocessor_config.json; the class's own defaults are those of Qwen2-VL.
QWEN3 = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
SIZE = {"shortest_edge": 65536, "longest_edge": 16777216}
# Channels with different statistics, and patches of another size.
CLIP = {
    "patch_size": 4,
    "temporal_patch_size": 3,
    "merge_size": 2,
    "image_mean": list(OPENAI_CLIP_MEAN),
    "image_std": list(OPENAI_CLIP_STD),
}


@dataclass(frozen=True)
class Case:
    """An image and how it is processed. `to`: height and width of a graph; None: the processor
    chooses."""

    name: str
    height: int
    width: int
    to: tuple[int, int] | None
    settings: dict


CASES = (
    Case("noise", 64, 112, (64, 128), QWEN3),
    Case("noise", 720, 1280, (448, 832), QWEN3),
    Case("edges", 1080, 1920, (448, 832), QWEN3),
    Case("noise", 333, 517, None, QWEN3),  # Pillow resizes the rows first
    Case("edges", 300, 90, (64, 96), QWEN3),  # the same, wider and lower
    Case("edges", 40, 60, (96, 160), QWEN3),
    Case("gradient", 64, 128, (64, 128), QWEN3),  # nothing to resize
    Case("gradient", 64, 100, (64, 160), CLIP),  # columns only
    Case("edges", 100, 64, (48, 64), CLIP),  # rows only
)


class FixedSize(Qwen2VLImageProcessorPil):
    """The processor for a graph of one size, to which it resizes every image. `to`: None leaves the
    choice to the processor."""

    def __init__(self, to: tuple[int, int] | None, **settings):
        super().__init__(size=SIZE, **settings)
        self.to = to

    def resize(self, image, size, resample, factor, **kwargs):
        height, width = self.to or smart_resize(
            *image.shape[-2:], factor, size.shortest_edge, size.longest_edge
        )
        return PilBackend.resize(self, image, SizeDict(height=height, width=width), resample)


def synthetic(case: Case) -> np.ndarray:
    """An image [H, W, 3] u8. `edges` alternates between 0 and 255, so that bicubic weights
    overshoot both ends."""
    generator = np.random.default_rng(case.height)
    shape = (case.height, case.width, 3)
    if case.name == "noise":
        return generator.integers(0, 256, shape, np.uint8)
    if case.name == "edges":
        return np.where(generator.random(shape) < 0.5, 0, 255).astype(np.uint8)
    if case.name == "gradient":
        y, x, channel = np.ogrid[: case.height, : case.width, :3]
        return ((3 * y + 2 * x + 40 * channel) % 256).astype(np.uint8)
    raise ExportError(f"unknown image {case.name!r}")


def processed(
    rgb: np.ndarray, to: tuple[int, int] | None, settings: dict
) -> dict[str, torch.Tensor]:
    """The tensors of an image's file."""
    processor = FixedSize(to, **settings)
    out = processor(images=[Image.fromarray(rgb)], return_tensors="np")
    factor = settings["patch_size"] * settings["merge_size"]
    resized = processor.resize(
        rgb.transpose(2, 0, 1), SizeDict(**SIZE), processor.resample, factor
    ).transpose(1, 2, 0)
    tensors = {
        "rgb": rgb,
        "resized": resized,
        "pixel_values": out["pixel_values"],
        "grid_thw": out["image_grid_thw"],
    }
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}


def write(out: Path, real: Path) -> None:
    """Fills the folder `out`. `real`: a photograph, processed beside the synthetic images if it
    exists."""
    pictures = [(case, synthetic(case)) for case in CASES]
    if real.exists():
        rgb = np.array(Image.open(real).convert("RGB"))
        pictures.append((Case("real", *rgb.shape[:2], (448, 832), QWEN3), rgb))
    index = []
    with atomic_folder(out) as aside:
        for case, rgb in pictures:
            tensors = processed(rgb, case.to, case.settings)
            to = list(tensors["resized"].shape[:2])
            file = f"{case.name}_{case.height}x{case.width}_{to[0]}x{to[1]}.safetensors"
            save_file(tensors, aside / file)
            index.append({"file": file, **asdict(case), "to": to})
        (aside / "index.json").write_text(json.dumps({"cases": index}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--real", type=Path, default=REAL, help="a photograph; skipped if it does not exist"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    write(args.out, args.real)


if __name__ == "__main__":
    main()
