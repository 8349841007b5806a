"""Golden chunks: deterministic, small, complete, and reproduced by the published loop from the
file's own inputs.
"""

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from conftest import ROOT, closeness
from drivewam_export.folder import ExportError, open_checkpoint
from drivewam_export.golden import LARGEST_BYTES, write
from drivewam_export.rollout import Options, Rollout

CONFIG, MODEL = ROOT / "tests/golden/ride.yaml", ROOT / "configs/model/tiny.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An input folder of 29 frames at 1 Hz."""
    root, rng, start = tmp_path_factory.mktemp("drive"), np.random.default_rng(0), 5_000_000_000
    (root / "input.yaml").write_text(
        "schema: 1\ncamera: {width: 112, height: 64, fx_px: 56.0, fy_px: 56.0, cx_px: 56.0, cy_px: 32.0}\nframes: {format: rgb8}\n"
    )
    rng.integers(0, 256, (29, 64, 112, 3), dtype=np.uint8).tofile(root / "frames.rgb")
    (root / "frames.csv").write_text(
        "stamp_ns,file\n" + "".join(f"{start + i * 10**9},{i}\n" for i in range(29))
    )
    ticks = [start + i * 10**8 for i in range(281)]
    (root / "poses.csv").write_text(
        "stamp_ns,x_m,y_m,yaw_rad\n"
        + "".join(f"{t},{0.7 * i},{0.01 * i},{0.001 * i}\n" for i, t in enumerate(ticks))
    )
    (root / "ego.csv").write_text(
        "stamp_ns,speed_mps,acceleration_mps2,curvature_1pm\n"
        + "".join(f"{t},7.0,{0.1 * (i % 9)},0.01\n" for i, t in enumerate(ticks))
    )
    (root / "commands.csv").write_text(
        f"stamp_ns,command\n{start},straight\n{start + 9 * 10**9},left\n"
    )
    return root


@pytest.fixture(scope="module")
def golden(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("golden") / "tiny"
    index = write("random:0", CONFIG, MODEL, folder, out, 8, 3)
    return out, index


def test_the_same_inputs_give_the_same_bytes(golden, folder, tmp_path):
    out, index = golden
    write("random:0", CONFIG, MODEL, folder, tmp_path / "again", 8, 3)
    for name in ("golden.safetensors", "golden.yaml"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sum(p.stat().st_size for p in out.iterdir()) <= LARGEST_BYTES
    assert yaml.safe_load((out / "golden.yaml").read_text()) == index
    assert 0 <= index["cut_margin"] < 1
    assert (
        index["commands"] == ["straight"] * 3 + ["left"] * 5
        and index["first_stamp_ns"] == 5_000_000_000
    )


def test_every_name_of_the_documentation_is_there(golden, tiny):
    tensors = load_file(golden[0] / "golden.safetensors")
    for n in range(9):
        name, observed, predicted = f"chunk.{n}", n < 8, n > 0
        expected = {
            f"{name}.{x}": observed
            for x in ("frames", "latent", "observed.increments", "observed.action")
        }
        expected |= {
            f"{name}.observed.{s}.{layer}": observed
            for s in "kvq"
            for layer in (0, tiny.layers - 1)
        }
        expected |= {
            f"{name}.observed.destinations.{pool}": observed for pool in ("video", "action")
        }
        expected |= {
            f"{name}.observed.scores.{pool}": observed and n >= 4 for pool in ("video", "action")
        }
        expected |= {
            f"{name}.{x}": predicted
            for x in (
                "ego",
                "video.noise",
                "video.sample",
                "action.sample",
                "trajectory.increments",
            )
        }
        expected |= {f"{name}.video.velocity.{i}": predicted for i in range(3)} | {
            f"{name}.action.velocity.{i}": predicted for i in range(10)
        }
        expected |= {f"{name}.predicted.{s}.{tiny.layers - 1}": predicted for s in "kv"}
        assert {k for k in tensors if k.startswith(name + ".")} == {
            k for k, there in expected.items() if there
        }
    shapes = {
        "chunk.0.frames": (1, 64, 112, 3),
        "chunk.3.frames": (4, 64, 112, 3),
        "chunk.3.observed.k.0": (4, 36, 32),
        "chunk.5.observed.destinations.action": (6, 1, 8),
        "chunk.5.observed.scores.video": (6, 1, 112),
    }
    assert {k: tuple(tensors[k].shape) for k in shapes} == shapes


def test_the_published_loop_reproduces_the_file_from_what_the_file_holds(golden, tiny):
    """Breaks when a stored input is not what the ride read, or a result is under another chunk's
    name."""
    out, index = golden
    t = load_file(out / "golden.safetensors")
    source = open_checkpoint("random:0", tiny)
    document = yaml.safe_load(CONFIG.read_text())
    document["flow"]["passes"] = "unpacked"
    rollout, cache, worst = Rollout(source.model, Options.of(document)), None, 0.0
    for n in range(1, 9):
        past = f"chunk.{n - 1}"
        frames = (t[f"{past}.frames"].permute(0, 3, 1, 2).float() / 127.5 - 1)[None]
        with torch.no_grad():
            latent, cache = (
                source.codec.encode_first(frames) if n == 1 else source.codec.encode(frames, cache)
            )
        action = torch.nn.functional.pad(
            t[f"{past}.observed.action"], (0, tiny.token_width - tiny.action.channels)
        )
        forced = {
            pool: t[f"{past}.observed.destinations.{pool}"].long() for pool in ("video", "action")
        }
        step = rollout.step(
            latent[0],
            action,
            source.rows[index["commands"][n - 1]],
            t[f"chunk.{n}.ego"],
            t[f"chunk.{n}.video.noise"],
            forced=forced,
        )
        layer = tiny.layers - 1
        pairs = [
            (step.observed.outputs[layer][i], t[f"{past}.observed.{s}.{layer}"])
            for i, s in enumerate("kvq")
        ]
        pairs += [
            (latent[0], t[f"{past}.latent"]),
            (step.video, t[f"chunk.{n}.video.sample"]),
            (step.predicted[-1][0], t[f"chunk.{n}.predicted.k.{layer}"]),
        ]
        pairs += [
            (v, t[f"chunk.{n}.video.velocity.{i}"]) for i, v in enumerate(step.video_velocity)
        ]
        pairs += [
            (v[:, : tiny.action.channels], t[f"chunk.{n}.action.velocity.{i}"])
            for i, v in enumerate(step.action_velocity)
        ]
        worst = max(worst, *(closeness(a, b) for a, b in pairs))
    print(f"largest relative difference {worst:.1e}")
    assert worst <= 1e-5


def test_observed_actions_and_the_trajectory_invert_one_another(golden, tiny):
    """Tokens are the normalised increments: five of (dx, dy, dyaw) in a row."""
    t = load_file(golden[0] / "golden.safetensors")
    q01, q99 = (torch.tensor(golden[1]["normalisation"]["action"][k]) for k in ("q01", "q99"))
    physical = lambda tokens: (tokens.reshape(40, 3) + 1) / 2 * (q99 - q01 + 1e-6) + q01
    assert torch.allclose(
        physical(t["chunk.2.observed.action"]), t["chunk.2.observed.increments"], atol=1e-6
    )
    assert torch.allclose(
        physical(t["chunk.2.action.sample"]), t["chunk.2.trajectory.increments"], atol=1e-6
    )
    assert torch.equal(t["chunk.0.observed.increments"], torch.zeros(40, 3)) and not torch.equal(
        t["chunk.0.observed.action"], torch.zeros(8, 15)
    )
    local = t["chunk.2.observed.increments"][:, 2].sum()
    assert abs(local.item() - 0.04) < 1e-5


def test_too_few_frames_are_refused_and_nothing_is_written(folder, tmp_path):
    for chunks in (6, 9):
        with pytest.raises(ExportError, match=f"got {chunks} chunks, wanted 7 to 8"):
            write("random:0", CONFIG, MODEL, folder, tmp_path / "out", chunks, 0)
    assert not list(tmp_path.iterdir())
