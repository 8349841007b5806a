"""DAgger: which windows are drawn, the mean of several processes, and a whole round that goes on
where it was stopped.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

from drivewam_export.codec import Codec
from drivewam_export.train.dagger import average
from drivewam_export.train.data import Normalisation, open_all
from drivewam_export.train.driven import DrivenWindows, creeping, label_errors
from drivewam_export.train.latents import encode_drive
from test_training import PER_SECOND, drive

ROOT = Path(__file__).parents[2]


def test_a_label_s_error_is_the_distance_to_where_the_car_was_after_four_seconds():
    straight = drive(40)
    plans = straight.plans.copy()
    plans[10] += [2.0, 0.0, 0.0]
    errors = label_errors(dataclasses.replace(straight, plans=plans), 10 // PER_SECOND)
    # The made labels are half a metre off on both axes.
    assert np.allclose(np.delete(errors, 10), np.hypot(0.5, 0.5), atol=1e-5)
    assert np.isclose(errors[10], np.hypot(2.5, 0.5), atol=1e-5)


def test_a_car_creeps_where_it_moves_though_it_should_stand_then_and_later():
    made = drive(40)
    tick = 10 // PER_SECOND
    plans = np.full_like(made.plans, 5.0)
    # It should stand from frame 10 to 24 and drives on, except in what begins with frame 12.
    plans[10:25] = 0.0
    poses = made.poses.copy()
    poses[12 * tick + 40] = poses[12 * tick]
    found = creeping(dataclasses.replace(made, plans=plans, poses=poses), tick)
    assert set(np.flatnonzero(found)) == {10, 11, 13, 14, 15, 16}


def test_many_windows_end_on_a_hard_frame_and_none_learns_a_masked_one(tiny):
    """Breaks if a masked label is learned, or if hard frames, or those from which the car creeps,
    are drawn as rarely as they occur."""
    torch.manual_seed(0)
    made = drive(120)
    plans, masked = made.plans.copy(), made.masked.copy()
    plans[100:104] += [2.0, 0.0, 0.0]
    # Plans off by half a metre on one axis are not hard.
    plans[:, :, 1] -= 0.5
    plans[150:160] = 0.0
    masked[600:610] = 1
    made = dataclasses.replace(made, plans=plans, masked=masked)
    windows = DrivenWindows(
        tiny,
        [made],
        [encode_drive(Codec(tiny), made, PER_SECOND)],
        Normalisation.of([made]),
        PER_SECOND,
    )
    ends, hard, creeps = windows.lasts(4)
    # The car does not stand where it should, and is hard there as well.
    assert set(ends[hard][:, 1]) == {100, 101, 102, 103, *range(150, 160)}
    assert set(ends[creeps][:, 1]) == {150, 151}
    learned = {int(last) - k * 8 for last in ends[:, 1] for k in range(3)}
    assert learned.isdisjoint({120, 121}) and {119, 122} <= learned
    picks = []
    windows.gather = lambda drawn, _chunks, _rng: picks.extend(drawn)
    windows.draw_driven(4, 400, np.random.default_rng(0))
    lasts = [begins[-1] for _, begins, _ in picks]
    assert (
        0.3 < np.mean([last in range(100, 104) or last in range(152, 160) for last in lasts]) < 0.55
    )
    assert 0.15 < np.mean([last in (150, 151) for last in lasts]) < 0.4
    assert all(np.diff(begins).tolist() == [8, 8, 8] for _, begins, _ in picks)


def test_the_mean_of_two_checkpoints(tmp_path):
    for i, folder in enumerate((tmp_path / "a", tmp_path / "b")):
        folder.mkdir()
        weights = {"w": torch.full((2,), 1.0 + i), "v": torch.full((1,), 4.0 * i)}
        for name in ("policy.safetensors", "commands.safetensors", "codec.safetensors"):
            save_file(weights, folder / name)
        for name in ("normalisation.yaml", "trained_ranges.yaml"):
            (folder / name).write_text("a: 1\n")
        (folder / "training.yaml").write_text(yaml.safe_dump({"steps": 3, "windows": 5 + i}))
    average([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    mean = load_file(tmp_path / "mean/policy.safetensors")
    assert mean["w"].tolist() == [1.5, 1.5] and mean["v"].tolist() == [2.0]
    record = yaml.safe_load((tmp_path / "mean/training.yaml").read_text())
    assert (record["windows"], record["averaged"]) == (11, 2)


def test_a_round_drives_trains_averages_and_exports_and_is_not_done_twice(tmp_path, program):
    """Breaks if the policy does not drive, if its drives lack labels, if what is exported is not
    what was trained, or if a stage is done again."""
    base, out = tmp_path / "base", tmp_path / "out"
    labels = ["--plans", "--no-foresight", "--frames", "rgb8", "--camera-hz", "2"]
    made = [program, "world", "--seeds", "100000..100002", "--seconds", "40", *labels]
    subprocess.run([*made, "--out", base], check=True, capture_output=True)
    command = [sys.executable, "-m", "drivewam_export.train.dagger", "--out", out, "--base", base]
    command += ["--rounds", "1", "--program", program, "--drives", "2", "--seconds", "24"]
    command += [
        "--lanes",
        "1",
        "--expert-every",
        "0",
        "--",
        "--steps",
        "2",
        "--batch",
        "2",
        "--whole-share",
        "0",
    ]
    run = lambda: subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    first = run()
    done = ["collected", "trained", "averaged", "exported"]
    folder = out / "round-1"
    assert all("seconds" in json.loads((folder / name).read_text()) for name in done), first.stdout
    drives = open_all(folder / "drives")
    assert len(drives) == 2 and all(drive.plans is not None for drive in drives)
    header = yaml.safe_load((folder / "drives/601000/input.yaml").read_text())["source"]
    assert header["plans"] == {"foresight": False, "extra_margin_m": 1.3}
    manifest = yaml.safe_load((folder / "engine/manifest.yaml").read_text())
    assert manifest["training"]["averaged"] == 2
    before = load_file(ROOT / "engines/tiny/dit.safetensors")
    after = load_file(folder / "engine/dit.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    trained = load_file(folder / "weights/policy.safetensors")
    assert all(torch.equal(trained[name], after[name]) for name in after if name in trained)
    again = run()
    assert "round" in first.stdout and again.stdout == ""
