"""The ranges of what a policy was trained on, found in the drives themselves.

`python -m drivewam_export.train.ranges --data DIR --out FILE`

Training writes the file `trained_ranges.yaml` of a checkpoint itself, and the exporter takes them
from there into the manifest. `export --trained-ranges FILE` takes those that this program writes.

| key | of |
|---|---|
| `speed_mps` | every ego state: least; the speed that all but 1 of 1000 lie below |
| `yaw_rate_radps` | every ego state: all but 1 of 1000 on either side; speed times curvature |
| `camera` | every `input.yaml` |
| `picture.brightness` | every frame: mean of its pixels' brightness |
| `picture.contrast` | every frame: standard deviation of the brightness |
| `picture.saturation` | every frame: mean distance of a pixel's strongest and weakest colour |

A frame's figures are those of the runtime (`camera_health`): on a grid of 64 by 64 pixels, the
brightness also of each pixel's right neighbour, each of 255. A range is rounded outwards.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import yaml

from .data import Drive, open_all

SAMPLES = 64
# The fastest and the sharpest states are left out: a policy has not learned what it saw for some
# seconds.
RAREST = 1e-3
LUMA = (0.299, 0.587, 0.114)


def looks(frames: np.ndarray) -> np.ndarray:
    """Brightness, contrast and saturation of frames [n, H, W, 3] u8, as [n, 3]."""
    _, height, width, _ = frames.shape
    place = lambda size: (2 * np.arange(SAMPLES) + 1) * size // (2 * SAMPLES)
    rows, columns = place(height), place(width)
    beside = np.where(columns + 1 < width, columns + 1, np.maximum(columns - 1, 0))
    lines = np.asarray(frames)[:, rows]
    luma = lambda pixels: pixels.astype(np.float64) @ np.array(LUMA)
    both = np.stack([luma(lines[:, :, columns]), luma(lines[:, :, beside])], -1)
    pixels = lines[:, :, columns].astype(np.int16)
    colours = pixels.max(-1) - pixels.min(-1)
    axes = (1, 2, 3)
    return np.stack([both.mean(axes), both.std(axes), colours.mean((1, 2))], -1)


def outwards(low: float, high: float, digits: int) -> list[float]:
    scale = 10**digits
    return [math.floor(low * scale) / scale, math.ceil(high * scale) / scale]


def trained_ranges(drives: list[Drive]) -> dict:
    """The section `trained_ranges` of a manifest."""
    speeds = np.concatenate([drive.ego[:, 0] for drive in drives])
    fastest = float(np.quantile(speeds, 1 - RAREST))
    yaw_rates = np.concatenate([drive.ego[:, 0] * drive.ego[:, 2] for drive in drives])
    sharpest = np.quantile(yaw_rates, (RAREST, 1 - RAREST))
    seen = np.concatenate([looks(drive.frames) for drive in drives])
    low, high = seen.min(0), seen.max(0)

    def span(key: str, default: float) -> list[float]:
        values = [float(drive.camera.get(key, default)) for drive in drives]
        return [min(values), max(values)]

    return {
        "speed_mps": outwards(float(speeds.min()), fastest, 1),
        "yaw_rate_radps": outwards(*map(float, sharpest), 2),
        "camera": {
            **{key: span(key, 0.0) for key in ("yaw_rad", "pitch_rad", "roll_rad")},
            "height_m": span("height_m", 1.5),
            "distorted_lenses": any("distortion" in drive.camera for drive in drives),
        },
        "picture": {
            name: outwards(float(low[i]), float(high[i]), 1)
            for i, name in enumerate(("brightness", "contrast", "saturation"))
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder of drives")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    args = parser.parse_args()
    ranges = trained_ranges(open_all(args.data))
    args.out.write_text(yaml.safe_dump(ranges, sort_keys=False))


if __name__ == "__main__":
    main()
