"""The ranges of what a policy was trained on: found in drives, and kept with the weights."""

import numpy as np
import pytest
import yaml

from conftest import ROOT
from drivewam_export.folder import RANGES, read_ranges
from drivewam_export.train.data import Drive
from drivewam_export.train.ranges import looks, outwards, trained_ranges

SHIPPED = ROOT / "engines/tiny"


def by_hand(frame: np.ndarray) -> list[float]:
    """The runtime's figures of one frame, pixel by pixel."""
    height, width, _ = frame.shape
    luma, colours = [], []
    for row in range(64):
        for column in range(64):
            y, x = (2 * row + 1) * height // 128, (2 * column + 1) * width // 128
            beside = x + 1 if x + 1 < width else x - 1
            for place in (x, beside):
                red, green, blue = (float(c) for c in frame[y, place])
                luma.append(0.299 * red + 0.587 * green + 0.114 * blue)
            colours.append(float(frame[y, x].max()) - float(frame[y, x].min()))
    return [np.mean(luma), np.std(luma), np.mean(colours)]


@pytest.mark.parametrize("size", [(64, 112), (33, 64), (200, 301)])
def test_looks_are_those_of_the_runtime_s_grid(size):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    for got, frame in zip(looks(frames), frames):
        assert got == pytest.approx(by_hand(frame), abs=1e-9)


def drive(speeds, grey, camera):
    curvature = np.where(np.arange(len(speeds)) % 2, 0.02, -0.03)
    curvature[::5000] = 1.0
    ego = np.stack([speeds, np.zeros(len(speeds)), curvature], -1)
    frames = np.full((3, 64, 112, 3), grey, np.uint8)
    return Drive("made", frames, *[None] * 2, ego, *[None] * 6, camera)


def test_ranges_hold_every_camera_and_frame_and_all_but_the_fastest_states():
    """Breaks when a drive is left out, or a few seconds of an odd speed widen the range."""
    speeds = np.concatenate([np.linspace(0.0, 10.0, 9999), [60.0]])
    drives = [
        drive(speeds, 100, {"pitch_rad": 0.02, "height_m": 1.4}),
        drive(speeds, 120, {"pitch_rad": -0.01, "height_m": 1.6, "distortion": {}}),
    ]
    ranges = trained_ranges(drives)
    assert ranges["speed_mps"] == [0.0, 10.0]
    assert ranges["yaw_rate_radps"] == pytest.approx([-0.3, 0.2], abs=0.011)
    assert ranges["camera"] == {
        "yaw_rad": [0.0, 0.0],
        "pitch_rad": [-0.01, 0.02],
        "roll_rad": [0.0, 0.0],
        "height_m": [1.4, 1.6],
        "distorted_lenses": True,
    }
    assert ranges["picture"]["brightness"] == pytest.approx([100.0, 120.0], abs=0.11)
    assert ranges["picture"]["saturation"] == [0.0, 0.0]
    assert outwards(1.23, 4.51, 1) == [1.2, 4.6]


def test_ranges_stay_with_the_weights(shipped_folder, tmp_path):
    """Breaks when an export loses the ranges, or writes another manifest than the committed one."""
    again, kept = (
        yaml.safe_load((folder / "manifest.yaml").read_text())
        for folder in (shipped_folder, SHIPPED)
    )
    assert again["trained_ranges"] == kept["trained_ranges"] and kept["trained_ranges"]
    assert list(again) == list(kept)
    hashes = {"files": None}
    assert again | hashes == kept | hashes
    assert read_ranges(tmp_path / RANGES) is None
    (tmp_path / RANGES).write_text(yaml.safe_dump(kept["trained_ranges"], sort_keys=False))
    assert read_ranges(tmp_path / RANGES) == kept["trained_ranges"]
