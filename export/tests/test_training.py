"""The parts of a training step: windows with gaps, the displacement in metres, a run that leaves a
complete checkpoint.
"""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from drivewam_export.codec import Codec
from drivewam_export.folder import open_checkpoint
from drivewam_export.loss import displacement_loss
from drivewam_export.model import DriveWam
from drivewam_export.train import latents, policy
from drivewam_export.train.data import Drive, Normalisation, increments, pack
from drivewam_export.train.latents import encode_drive
from drivewam_export.train.windows import Windows

PER_SECOND = 2


def drive(seconds, seed=0):
    """A car on a circle, images of noise, a sign in the image at 20 s, memory needed at 60 s."""
    rng = np.random.default_rng(seed)
    ticks = np.arange(seconds * 10 + 1)
    yaw = 0.01 * ticks
    poses = np.stack([50 * np.sin(yaw), 50 * (1 - np.cos(yaw)), yaw], -1)
    frames = rng.integers(0, 255, (seconds * PER_SECOND + 1, 64, 112, 3), np.uint8)
    ego = np.stack([np.full(len(ticks), 5.0), np.zeros(len(ticks)), np.full(len(ticks), 0.02)], -1)
    mark = lambda at: (ticks // 10 == at).astype(np.int64)
    limit = np.where(ticks < 300, 0, 2)
    plans = (
        np.stack(
            [
                np.cumsum(increments(poses, min(10 // PER_SECOND * f, len(ticks) - 41), 40), 0)
                for f in range(len(frames))
            ]
        )
        + 0.5
    )
    return Drive(
        "made",
        frames,
        ticks[:: 10 // PER_SECOND] * 0.1,
        poses,
        ego,
        np.zeros(len(ticks), np.int64),
        mark(60),
        limit,
        mark(20),
        np.zeros(len(ticks), np.int64),
        plans.astype(np.float32),
    )


@pytest.fixture
def windows(tiny):
    torch.manual_seed(0)
    drives = [drive(120), drive(120, 1)]
    normalisation = Normalisation.of(drives)
    return Windows(
        tiny,
        drives,
        [encode_drive(Codec(tiny).eval(), d, PER_SECOND) for d in drives],
        normalisation,
        PER_SECOND,
    )


def test_a_gapped_window_ends_in_neighbours_lies_in_the_past_and_holds_the_sign(windows):
    """Breaks when a gap separates the newest chunks, reaches beyond the drive, or leaves out what
    must be remembered."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        d, last = windows.needed[rng.integers(len(windows.needed))]
        begins = windows.gapped(d, last, 8, last // windows.per_chunk, True, rng)
        assert (
            len(begins) == 8
            and begins == sorted(set(begins))
            and begins[0] >= 0
            and begins[-1] == last
        )
        assert np.diff(begins[-windows.RECENT :]).tolist() == [windows.per_chunk] * (
            windows.RECENT - 1
        )
        saw = [b for b in begins if b <= 20 * PER_SECOND < b + windows.per_chunk + 1]
        assert saw, begins
    window = windows.draw(8, 32, rng, 0.5, 1.0)
    assert (window.frames.diff(dim=1) >= 1).all() and (window.frames.diff(dim=1)[:, -3:] == 1).all()
    assert window.frames.max() > 8


def test_a_window_reaches_through_a_whole_drive_where_one_is_long_enough(windows):
    """Breaks when a window comes from a drive that is too short for it, or a whole drive's window
    does not reach back."""
    assert windows.fits(16) and windows.fits(29) and not windows.fits(64)
    window = windows.draw(16, 8, np.random.default_rng(0), 0.5, 1.0)
    assert (
        window.video.shape[:2] == (8, 16)
        and (window.frames[:, -1] >= 15).all()
        and torch.isfinite(window.video).all()
    )


def test_what_was_driven_is_seen_and_what_the_expert_would_drive_is_learned(windows):
    """Breaks when plan and history are swapped."""
    window = windows.gather([(0, [0, 8, 16, 24], False)], 4)
    c = windows.config
    driven = np.stack([increments(windows.drives[0].poses, k * 40, 40) for k in range(4)])
    wanted = torch.from_numpy(
        pack(c, windows.normalisation.apply(driven)).astype(np.float32).clip(-4, 4)
    )
    assert torch.equal(window.action[0, :, :, : c.action.channels], wanted)
    planned = np.diff(windows.drives[0].plans[[0, 8, 16, 24]], axis=1, prepend=0.0)
    wanted = torch.from_numpy(
        pack(c, windows.normalisation.apply(planned)).astype(np.float32).clip(-4, 4)
    )
    assert torch.equal(window.plan[0, :, :, : c.action.channels], wanted)


def test_the_displacement_is_of_positions_in_metres(windows):
    """Breaks when increments are not summed, axes are swapped, or the unit is not the metre. Smooth
    below 0.1 m: hence the tolerance."""
    c, n = windows.config, windows.normalisation
    driven = increments(windows.drives[0].poses, 0, 40)
    other = driven + np.array([0.05, 0.02, 0.0])
    rows = lambda x: torch.from_numpy(
        np.pad(pack(c, n.apply(x)), ((0, 0), (0, c.token_width - c.action.channels)))
    ).float()
    metres = torch.tensor(n.q99 - n.q01, dtype=torch.float32) / 2
    whole, along, across = displacement_loss(c, rows(other), rows(driven), metres, 3.0)
    mean = np.arange(1, 41).mean()
    assert abs(along.item() - 0.05 * mean) < 0.1 and abs(across.item() - 0.02 * mean) < 0.1
    assert abs(whole.item() - along.item() - 3 * across.item()) < 1e-5
    assert displacement_loss(c, rows(driven), rows(driven), metres)[0].item() < 1e-4


@pytest.mark.parametrize("blind", [False, True])
def test_a_run_leaves_a_whole_checkpoint_and_a_blind_one_sees_nothing(
    tiny, tmp_path, monkeypatch, blind
):
    """Breaks when a step, the checkpoint or its record fails, or when the control sees anything."""
    folders = [tmp_path / name for name in ("one", "two")]
    made = [dataclasses.replace(drive(120, i), path=path) for i, path in enumerate(folders)]
    for path in folders:
        path.mkdir()
    monkeypatch.setattr(policy, "open_all", lambda _: made)
    torch.manual_seed(0)
    codec = Codec(tiny)
    save_file(codec.state_dict(), tmp_path / "codec.safetensors")
    steps = iter(range(3))
    flags = [
        "--data",
        ".",
        "--codec",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--config",
        "../configs/model/tiny.yaml",
    ]
    flags += [
        "--minutes",
        "9",
        "--batch",
        "2",
        "--threads",
        "1",
        "--long-share",
        "0.5",
        *(["--blind"] if blind else []),
    ]
    monkeypatch.setattr("sys.argv", ["policy", *flags])
    whole = policy.Trainer.loss

    def loss(self, *args):
        if next(steps, None) is None:
            self.stop = True
        return whole(self, *args)

    monkeypatch.setattr(policy.Trainer, "loss", loss)
    policy.main()
    opened = open_checkpoint(str(tmp_path / "out"), tiny)
    assert opened.record["steps"] == 4
    latents = encode_drive(opened.codec, drive(120), PER_SECOND)
    assert (np.abs(latents.chunk.numpy()).max() == 0) == blind
    torch.manual_seed(0)  # as at the start of the run
    begun = DriveWam(tiny).state_dict()
    ended = load_file(tmp_path / "out" / "policy.safetensors")
    assert all(torch.isfinite(x).all() for x in ended.values())
    assert not torch.equal(ended["blocks.0.attn1.to_q.weight"], begun["blocks.0.attn1.to_q.weight"])


def test_latents_are_computed_once_and_anew_for_another_codec(tiny, tmp_path, monkeypatch):
    """Breaks if kept latents are those of another codec, or are computed every time."""
    made = dataclasses.replace(drive(20), path=tmp_path)
    calls = []
    real = latents.encode_drive
    monkeypatch.setattr(latents, "encode_drive", lambda *given: calls.append(1) or real(*given))
    torch.manual_seed(0)
    first, other = Codec(tiny), Codec(tiny)
    [one] = latents.encode_all(first, [made], PER_SECOND)
    [again] = latents.encode_all(first, [made], PER_SECOND)
    [changed] = latents.encode_all(other, [made], PER_SECOND)
    assert len(calls) == 2 and torch.equal(one.chunk, again.chunk)
    assert one.first.dtype == torch.float16 and not torch.equal(one.first, changed.first)
    assert not list(tmp_path.glob("*.partial"))
