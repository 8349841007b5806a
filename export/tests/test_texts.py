"""The texts of training windows: generated texts, commands, or none; and only the weights that read
texts learn from them.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from drivewam_export.codec import Codec
from drivewam_export.folder import open_checkpoint
from drivewam_export.model import DriveWam
from drivewam_export.packed import Layout
from drivewam_export.train import policy, texts
from drivewam_export.train.data import COMMANDS
from drivewam_export.train.latents import encode_drive
from drivewam_export.train.windows import Windows
from test_training import PER_SECOND, drive


@pytest.fixture
def long_texts(tiny):
    """The tiny model with longer texts, so that attention to a text matters."""
    config = dataclasses.replace(
        tiny, text=dataclasses.replace(tiny.text, max_rows=24, padded_rows=24)
    )
    torch.manual_seed(0)
    return config, DriveWam(config).eval()


def test_padding_that_is_merged_counts_as_all_of_it(long_texts):
    """Breaks when the one row that stands for a text's padding weighs as one, or as many rows as
    another text has; or when a shorter text sees a row of a longer one. The reference has every
    padding row."""
    config, model = long_texts
    words = [torch.randn(n, config.text.dim) for n in (3, 17, 23)]
    known = texts.Texts(config, words)
    layout = Layout(config, 3)
    text_ids = torch.tensor([[4, 6, 1], [5, 4, 5]])
    ego, tokens = torch.rand(2, 3, 3), torch.randn(2, layout.length, config.token_width)
    times = torch.rand(2, len(layout.groups))
    run = lambda text, bias, ego_kv: model.packed(
        layout, tokens, times, layout.self_bias(), None, text, bias, ego_kv
    )
    merged = run(*texts.context(model, known, layout, text_ids, ego))
    whole = torch.zeros(len(COMMANDS) + len(words), config.text.padded_rows, config.text.dim)
    for i, rows in enumerate([*known.rows.detach(), *words]):
        whole[i, : len(rows)] = rows
    join = lambda x: x[text_ids].transpose(1, 2).flatten(2, 3)
    text = [(join(k), join(v)) for k, v in model.context_text(whole)]
    ego_kv = texts.context(model, known, layout, text_ids, ego)[2]
    written_out = run(text, layout.context_bias(config.text.padded_rows), ego_kv)
    assert (merged - written_out).abs().max() < 1e-5 * written_out.abs().max()
    # Another bias gives another result: the comparison can fail.
    known.bias[:, -1] = 0
    assert (
        run(*texts.context(model, known, layout, text_ids, ego)) - written_out
    ).abs().max() > 1e-3 * written_out.abs().max()


def test_windows_get_generated_texts_commands_or_nothing(tiny):
    """Breaks when a text is another frame's, a late one is not of the chunk before, or a window has
    more than one kind."""
    drives = [drive(60), drive(60, 1)]
    latents = [encode_drive(Codec(tiny).eval(), d, PER_SECOND) for d in drives]
    numbers = [np.arange(len(d.frames)) + 1000 * (i + 1) for i, d in enumerate(drives)]
    normalisation = policy.Normalisation.of(drives)
    windows = Windows(tiny, drives, latents, normalisation, PER_SECOND, generated=numbers)
    picks = [(1, [8, 16, 24], False)] * 400
    text_ids = windows.gather(picks, 3, np.random.default_rng(0)).text_ids
    kinds = {tuple(row) for row in text_ids.tolist()}
    unknown, command = COMMANDS.index("unknown"), int(drives[1].command[0])
    assert kinds == {(2008, 2016, 2024), (2000, 2008, 2016), (command,) * 3, (unknown,) * 3}
    share = lambda row: np.mean([tuple(r) == row for r in text_ids.tolist()])
    assert (
        abs(share((unknown,) * 3) - texts.NOTHING_SHARE) < 0.05
        and abs(share((command,) * 3) - texts.COMMAND_SHARE) < 0.06
    )
    assert abs(share((2000, 2008, 2016)) - 0.6 * texts.LATE_SHARE) < 0.05
    assert (windows.gather(picks, 3).text_ids == command).all()


def test_text_embeddings_are_those_of_the_text_encoder():
    """Breaks when a weight is not loaded, or a text is cut. The self-test of
    `engines/tiny` compares the graph with the same encoder."""
    folder = policy.Path(__file__).resolve().parents[2] / "engines/tiny"
    short, long = (
        "A green light lies ahead. Drive on.",
        "The road bends left and a car is close ahead. Turn left at the junction and slow down for the car.",
    )
    rows = texts.encode(folder, [short, long], 64, 64)
    assert len(rows[0]) < len(rows[1]) < 64 and rows[0].shape[1] == 64
    again = texts.encode(folder, [long], 64, 64)[0]
    assert torch.equal(again, rows[1]) and not torch.equal(rows[0][:4], rows[1][:4])
    with pytest.raises(ValueError, match="wanted fewer than 8"):
        texts.encode(folder, [long], 64, 8)


def test_only_what_reads_texts_is_trained(tiny, tmp_path, monkeypatch):
    """Breaks when another weight changes, when none changes, or when the checkpoint's normalisation
    is not that of the policy it started from."""
    root = policy.Path(__file__).resolve().parents[2]
    data = []
    for i in range(2):
        made = drive(60, i)
        made.path = tmp_path / f"drive{i}"
        made.path.mkdir()
        generated = ["The road is straight and the way is free. Follow the road."] * len(
            made.frames
        )
        (made.path / "generated.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in generated)
        )
        data.append(made)
    monkeypatch.setattr(policy, "open_all", lambda _: data)
    flags = [
        "--data",
        ".",
        "--codec",
        str(root / "engines/tiny"),
        "--out",
        str(tmp_path / "out"),
        "--config",
        str(root / "configs/model/tiny.yaml"),
    ]
    flags += [
        "--start",
        str(root / "engines/tiny"),
        "--guidance",
        str(root / "engines/tiny"),
        "--steps",
        "2",
        "--batch",
        "2",
        "--threads",
        "1",
        "--long-share",
        "0",
    ]
    monkeypatch.setattr("sys.argv", ["policy", *flags])
    policy.main()
    begun = open_checkpoint(str(root / "engines/tiny"), tiny)
    ended = load_file(tmp_path / "out" / "policy.safetensors")
    moved = {
        name
        for name, value in begun.model.state_dict().items()
        if not torch.equal(value, ended[name])
    }
    assert moved and all(policy.READS_TEXT.match("policy." + name) for name in moved), sorted(
        moved
    )[:5]
    assert any("attn2.to_v" in name for name in moved)
    again = open_checkpoint(str(tmp_path / "out"), tiny)
    assert np.allclose(again.normalisation["action"]["q99"], begun.normalisation["action"]["q99"])
