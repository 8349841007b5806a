"""The monitor: the motion that it reads, what counts as seen wrongly, and a whole run from drives
to an exported folder.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from drivewam_export.codec import Codec
from drivewam_export.monitor import motion
from drivewam_export.train.latents import encode_drive
from drivewam_export.train.monitor import WRONGLY, Chunks, chunks, failing, moved, with_any
from test_training import PER_SECOND, drive

ROOT = Path(__file__).parents[2]


def test_motion_is_summed_over_each_frame_period_in_the_frame_of_the_first_pose():
    steps = torch.arange(40 * 3).reshape(40, 3).float()
    assert torch.equal(motion(steps, 4)[3:6], steps[10:20].sum(0))
    assert torch.equal(motion(steps[None], 4)[0], motion(steps, 4))


def test_chunks_pair_a_latent_with_the_motion_after_its_frame(tiny):
    """Breaks if the motion is that of another chunk."""
    made = drive(40)
    # The car jumps forward during the fourth second.
    poses = made.poses.copy()
    poses[35:, 0] += 100
    made = dataclasses.replace(made, poses=poses)
    latents = encode_drive(Codec(tiny), made, PER_SECOND).chunk
    found = chunks(tiny, made, latents)
    at = lambda second: found.moved[second * PER_SECOND]
    # The chunks from seconds 0 and 3 on have the jump in their last and in their first period.
    assert at(0)[9] > 90 > at(0)[6] and at(3)[0] > 90 > at(3)[3] and at(4)[0] < 90
    assert len(found) == len(latents) and torch.equal(found.moved, moved(tiny, made, len(found)))


def test_what_is_seen_wrongly_differs_and_a_car_that_stands_shows_nothing():
    frames = np.arange(80 * 2 * 4 * 3).reshape(80, 2, 4, 3)
    rng = np.random.default_rng(0)
    changed = {kind: change(frames, rng) for kind, change in WRONGLY.items()}
    assert (changed["mirrored"][:, :, 0] == frames[:, :, -1]).all()
    assert (changed["reversed"][0] == frames[-1]).all()
    assert sorted(changed["shuffled"][:, 0, 0, 0]) == list(frames[:, 0, 0, 0])
    runs = np.diff(changed["frozen"][:, 0, 0, 0])
    assert (runs == 0).mean() > 0.85 and (runs > 0).any()
    both = Chunks(torch.zeros(2, 4), torch.tensor([[1.0, 0, 0] * 4, [0.0, 2, 0] * 4]))
    assert both.where_moved().moved.tolist() == [[0.0, 2, 0] * 4]


def test_a_camera_that_fails_now_and_then_makes_wrong_every_chunk_that_shows_it():
    """Breaks if a chunk with one wrong frame counts as ordinary, or one without as wrong."""
    frames = np.full((200, 2, 4, 3), 10, np.uint8)
    frames[..., 0, :] = 20
    changed, wrong = failing(frames, np.full_like(frames, 77), np.random.default_rng(0))
    assert ((changed != frames).any((1, 2, 3)) == wrong).all() and 0.2 < wrong.mean() < 0.5
    assert {77} < set(np.unique(changed)) and (changed[:, :, -1] == 20).any()
    one = np.zeros(20, bool)
    one[10] = True
    # Two frames a second: chunks begin two, four, six or eight frames before it, or at it.
    assert np.flatnonzero(with_any(one, 2, 4)).tolist() == [2, 4, 6, 8, 10]


def run(*words) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_monitor_from_drives_to_a_folder_that_keeps_it(tmp_path, program):
    """Breaks if the network does not learn, the thresholds do not reach the manifest, or an export
    of an exported folder drops the monitor."""
    world = (program, "world", "--camera-hz", 2, "--frames", "rgb8", "--seconds", 30)
    for name, seeds, yaw in (
        ("data", "900000..900006", 0),
        ("aside", "900100..900104", 90),
        ("held", "900..902", 0),
        ("held-aside", "910..912", 90),
    ):
        run(*world, "--seeds", seeds, "--out", tmp_path / name, "--camera-yaw", yaw)
    places = [f"--{name}={tmp_path / name}" for name in ("data", "aside", "held", "held-aside")]
    train = (sys.executable, "-m", "drivewam_export.train.monitor", *places)
    steps = ("--steps", 400, "--every", 1, "--threads", 1)
    said = run(*train, "--out", tmp_path / "monitor", *steps)
    noticed = yaml.safe_load(said[said.index("loss:") :])["noticed"]
    assert set(noticed) == {"aside", "failing", *WRONGLY} and noticed["aside"] > 0.9, said

    export = (sys.executable, "-m", "drivewam_export.onnx_graphs.export")
    first, again = tmp_path / "first", tmp_path / "again"
    made = ("--monitor", tmp_path / "monitor")
    run(*export, "--checkpoint", "engines/tiny", "--out", first, *made)
    run(*export, "--checkpoint", first, "--out", again)
    manifests = [yaml.safe_load((f / "manifest.yaml").read_text()) for f in (first, again)]
    for manifest in manifests:
        assert manifest["monitors"]["scene"] == {"threshold": 1.0}
        assert [t["name"] for t in manifest["graphs"]["monitor"]["outputs"]] == ["unfamiliar"]
    weights = [load_file(f / "monitor.safetensors") for f in (tmp_path / "monitor", again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert set(weights[0]) == set(weights[1])
    # The runtime runs the graph and compares it with the self-test.
    run(program, "inspect", again)
