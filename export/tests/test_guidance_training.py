"""The training of the small guidance: facts of captions, the vocabulary, the batched model against
`transformers`, a run from drives to graphs.
"""

import json
import sys

import numpy as np
import pytest
import torch
import yaml
from transformers import Qwen3VLForConditionalGeneration, UMT5EncoderModel

from conftest import ROOT
from drivewam_export.guidance.export import export
from drivewam_export.guidance.generate import patch_rows
from drivewam_export.guidance.random_models import randomize
from drivewam_export.train.data import COMMANDS
from drivewam_export.train.guidance import __main__ as training
from drivewam_export.train.guidance import facts, text, vocabulary
from drivewam_export.train.guidance.scenes import Scenes, shares
from drivewam_export.train.guidance.vlm import BatchedVlm, make

SIZES = [(32, 48), (32, 48)]
CAPTIONS = {
    "A junction lies ahead and the way is free. Keep to the lane and wait.": {
        "road": "junction",
        "light": "none",
        "command": "unknown",
        "action": "wait",
    },
    "The road bends left with a red light close by, a pedestrian on the road, a braking car ahead and a slow zone sign. "
    "Prepare to turn right and slow down for the pedestrian, with great care.": {
        "road": "left",
        "light": "red",
        "light_close": "yes",
        "pedestrian": "yes",
        "lead": "ahead",
        "braking": "yes",
        "sign": "slow",
        "command": "right",
        "action": "slow",
        "because": "pedestrian",
    },
    "The road is straight with a green light and a car close ahead. Follow the road and follow the car, with care.": {
        "road": "straight",
        "light": "green",
        "light_close": "no",
        "pedestrian": "no",
        "lead": "close",
        "braking": "no",
        "sign": "none",
        "command": "straight",
        "action": "keep",
        "because": "lead",
    },
    "A junction lies ahead with a red light close by. Turn left at the junction and wait for green, with great care.": {
        "road": "junction",
        "command": "left",
        "action": "wait",
        "because": "light",
    },
}


@pytest.fixture(scope="module")
def tokenizer():
    return vocabulary.learn(list(CAPTIONS))


def test_facts_are_read_and_scored():
    """Breaks when a phrase of the world's grammar is not parsed, or a wrong answer counts."""
    for caption, wanted in CAPTIONS.items():
        got = facts.read(caption)
        assert {name: got[name] for name in wanted} == wanted, caption
        assert facts.has_form(caption)
    known = list(CAPTIONS)
    result = facts.score([known[1], known[3]], [known[1], known[2]])
    assert (
        result["judged"] == result["exact"] == 0.5
        and result["facts"]["light"] == 0.5
        and result["recall"]["light"]["red"] == [1.0, 1]
    )
    assert not facts.has_form("One sentence.") and not facts.has_form("In 5 m. Stop.")


def test_every_text_is_encoded_and_captions_word_by_word(tokenizer):
    """Breaks when bytes are missing, when the vocabulary grows, when prompts of known commands
    differ in length, or when a prompt is not that of the template."""
    assert tokenizer.get_vocab_size() <= vocabulary.MAX_VOCABULARY
    for written in [*CAPTIONS, "Straße 7, 雪!", "\n\t"]:
        assert tokenizer.decode(tokenizer.encode(written).ids) == written
    for caption in CAPTIONS:
        assert len(tokenizer.encode(caption).ids) == len(caption.split()) + caption.count(",") + 2
    assert vocabulary.with_end_token(tokenizer).encode("wait").ids[-1] == tokenizer.token_to_id(
        vocabulary.END_OF_TEXT
    )
    asked = vocabulary.prompts(tokenizer)
    assert len(asked) == len(COMMANDS) and len({len(ids) for ids in asked[:3]}) == 1
    picture = vocabulary.VISION_START + vocabulary.IMAGE + vocabulary.VISION_END
    for ids, word in zip(asked, COMMANDS):
        written = vocabulary.PROMPT_TEMPLATE.format(
            camera=picture, plot=picture, command=vocabulary.COMMAND_TEXT[word]
        )
        assert tokenizer.decode(ids, skip_special_tokens=False) == written


def test_rare_values_are_drawn_more_often_up_to_a_limit():
    values = np.array([[0, 0]] * 97 + [[1, 0]] * 2 + [[0, 1]])
    chance = shares(values, 4.0)
    assert (
        chance.sum() == pytest.approx(1)
        and chance[-1] == pytest.approx(4 * chance[0])
        and chance[97] == chance[-1]
    )


def test_the_batched_model_equals_the_class(tokenizer):
    """Breaks with a wrong order of patches, wrong positions after an image, deepstack rows at text,
    or a memory that loses rows."""
    torch.manual_seed(0)
    model = randomize(make(tokenizer), 0)
    batched = BatchedVlm(model, tokenizer, SIZES).eval()
    g = torch.Generator().manual_seed(1)
    pictures = [
        torch.randint(0, 256, (3, *size, 3), generator=g, dtype=torch.uint8) for size in SIZES
    ]
    command, answer = torch.tensor([2, 0, 1]), torch.randint(9, 300, (3, 5), generator=g)
    with torch.no_grad():
        got, _ = batched(command, pictures, answer)
    answers = batched.generate(command, pictures, 8)
    for i in range(3):
        patches = [
            patch_rows(p[i].numpy().transpose(2, 0, 1) / np.float32(127.5) - 1, 8, 2, 2)
            for p in pictures
        ]
        grids = torch.tensor([[1, height // 8, width // 8] for height, width in SIZES])
        inputs = {
            "pixel_values": torch.from_numpy(np.concatenate(patches)),
            "image_grid_thw": grids,
        }
        asked = batched.prompt_ids[command[i]][None]
        ids = torch.cat([asked, answer[i : i + 1]], 1)
        mark = lambda ids: {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == model.config.image_token_id).int(),
        }
        with torch.no_grad():
            wanted = model(**mark(ids), **inputs).logits[0, asked.shape[1] - 1 :]
        assert (got[i] - wanted).abs().max() < 1e-3 * wanted.pow(2).mean().sqrt()
        tokens = model.generate(
            **mark(asked),
            **inputs,
            do_sample=False,
            max_new_tokens=8,
            eos_token_id=batched.end,
            pad_token_id=batched.end,
        )
        tokens = tokens[0, asked.shape[1] :].tolist()
        assert answers[i].tolist()[: len(tokens)] == tokens


def drives(root, count):
    """Writes input folders of noise that `count` cars drive straight through, with captions."""
    g, captions = np.random.default_rng(0), list(CAPTIONS)
    for number in range(count):
        folder = root / f"{number:06}"
        folder.mkdir(parents=True)
        stamps = [1_000_000_000 + tick * 100_000_000 for tick in range(61)]
        rows = lambda head, body: "".join(f"{line}\n" for line in [head, *body])
        (folder / "input.yaml").write_text(
            yaml.safe_dump({"camera": {"height": 32, "width": 48}, "frames": {"format": "rgb8"}})
        )
        (folder / "frames.csv").write_text(
            rows("stamp_ns,file", [f"{s},{i}" for i, s in enumerate(stamps[::10])])
        )
        (folder / "frames.rgb").write_bytes(g.integers(0, 256, (7, 32, 48, 3), np.uint8).tobytes())
        (folder / "plots.rgb").write_bytes(bytes([number]) * (7 * 32 * 48 * 3))
        (folder / "poses.csv").write_text(
            rows("stamp_ns,x_m,y_m,yaw_rad", [f"{s},{i * 0.5},0,0" for i, s in enumerate(stamps)])
        )
        (folder / "ego.csv").write_text(
            rows(
                "stamp_ns,speed_mps,acceleration_mps2,curvature_1pm", [f"{s},5,0,0" for s in stamps]
            )
        )
        (folder / "commands.csv").write_text(
            rows("stamp_ns,command", [f"{stamps[0]},left", f"{stamps[30]},right"])
        )
        lines = []
        for i, s in enumerate(stamps[::10]):
            lines += [
                json.dumps({"stamp_ns": s, "command": c, "caption": captions[i % 4]})
                for c in ("left" if i < 3 else "right", "unknown")
            ]
        (folder / "captions.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_scenes_hold_an_image_a_plot_a_command_and_the_caption_without_a_route(tmp_path):
    """Breaks when plots or captions are another frame's, or when a drive without captions is
    accepted."""
    drives(tmp_path, 2)
    scenes = Scenes.open(tmp_path)
    assert len(scenes) == 14
    front, plots = scenes.pictures(np.array([13, 2]))
    assert (front[0] == scenes.frames[1][6]).all() and plots[0].max() == 1 and plots[1].max() == 0
    command, captions = scenes.captions_for(np.array([0, 6]), False)
    assert [COMMANDS[i] for i in command] == ["left", "right"] and captions == [
        list(CAPTIONS)[0],
        list(CAPTIONS)[2],
    ]
    assert scenes.captions_for(np.array([6]), True)[0].tolist() == [COMMANDS.index("unknown")]
    (tmp_path / "000001/captions.jsonl").unlink()
    with pytest.raises(ValueError, match="000001: no captions"):
        Scenes.open(tmp_path)


def test_a_run_leaves_checkpoints_that_are_exported(tmp_path, monkeypatch):
    """Breaks when a folder lacks what the export or the runtime reads, or when a run does not start
    from an earlier one."""
    drives(tmp_path / "data", 2)
    call = [
        "--data",
        str(tmp_path / "data"),
        "--held",
        str(tmp_path / "data"),
        "--minutes",
        "0.03",
        "--text-minutes",
        "0.01",
        "--batch",
        "4",
        "--threads",
        "1",
    ]
    for out, start in (("first", []), ("second", ["--start", str(tmp_path / "first")])):
        monkeypatch.setattr(sys, "argv", ["guidance", *call, *start, "--out", str(tmp_path / out)])
        training.main()
        assert sorted(p.name for p in (tmp_path / out).iterdir()) == [
            "guidance.json",
            "text",
            "vlm",
        ]
    record = json.loads((tmp_path / "second/guidance.json").read_text())
    assert record["vlm"]["held"]["captions"] == 14 and record["text"]["held"]["unseen"] == 0
    assert (tmp_path / "first/vlm/tokenizer.json").read_bytes() == (
        tmp_path / "second/vlm/tokenizer.json"
    ).read_bytes()
    vlm = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "second/vlm")
    export(
        vlm,
        UMT5EncoderModel.from_pretrained(tmp_path / "second/text"),
        tmp_path / "graphs",
        [(32, 48)],
        rows=64,
    )
    exported = yaml.safe_load((tmp_path / "graphs/guidance.yaml").read_text())
    assert exported["vlm"]["end_tokens"] == [
        vocabulary.learn(list(CAPTIONS)).token_to_id(vocabulary.END)
    ]


def test_sentences_are_crossed_whole():
    crossed = text.crossed(list(CAPTIONS), 50, np.random.default_rng(0))
    first, second = zip(*(caption.split(". ") for caption in CAPTIONS))
    assert all(c.split(". ")[0] in first and c.split(". ")[1] in second for c in crossed) and len(
        set(crossed)
    ) > len(CAPTIONS)


def test_the_shipped_configuration_has_the_prompt_of_the_training():
    """Breaks when the prompt of the ride differs from that of the training."""
    shipped = yaml.safe_load((ROOT / "configs/tiny-vlm.yaml").read_text())
    assert shipped["guidance"]["prompt_template"] == vocabulary.PROMPT_TEMPLATE
    source = (ROOT / "runtime/guidance/src/prompt_template.rs").read_text()
    assert all(f'"{word}"' in source for word in vocabulary.COMMAND_TEXT.values())
