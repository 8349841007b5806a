"""The references for the runtime's images and tokens: the processor of `transformers`, and Qwen's
tokenizer rebuilt from its ranks.
"""

import base64
import json
import random

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from conftest import ROOT
from drivewam_export.fixtures import tiny_tokenizers
from drivewam_export.folder import ExportError
from drivewam_export.guidance import pictures
from drivewam_export.guidance.generate import patch_rows
from drivewam_export.guidance.qwen_tokenizer import build, parts, read_ranks

QWEN = ROOT.parent / "shared/data/tokenizer"


def test_a_fixed_size_changes_nothing_but_the_size():
    """Breaks when the golden's processor differs from the checkpoint's in anything but the size."""
    rgb = pictures.synthetic(pictures.CASES[3])
    plain = Qwen2VLImageProcessorPil(size=pictures.SIZE, **pictures.QWEN3)(
        images=[rgb], return_tensors="np"
    )
    made = pictures.processed(rgb, None, pictures.QWEN3)
    assert (
        tuple(made["resized"].shape) == (320, 512, 3)
        and not (made["resized"][:, :, 0] == made["resized"][:, :, 1]).all()
    )
    assert np.array_equal(plain["pixel_values"], made["pixel_values"].numpy())
    assert np.array_equal(plain["image_grid_thw"], made["grid_thw"].numpy())


@pytest.mark.parametrize(
    "case",
    [case for case in pictures.CASES if case.height < 500],
    ids=lambda case: f"{case.name}{case.height}x{case.width}",
)
def test_patches_are_those_of_the_reference_loop(case):
    """Breaks when the processor's order of patches is not that of `patch_rows`, which the tests of
    the graphs use."""
    made = pictures.processed(pictures.synthetic(case), case.to, case.settings)
    mean, std = (np.array(case.settings[f"image_{name}"], np.float32) for name in ("mean", "std"))
    pixels = (made["resized"].numpy() / np.float32(255) - mean) / std
    rows = patch_rows(
        pixels.transpose(2, 0, 1),
        *(case.settings[name] for name in ("patch_size", "temporal_patch_size", "merge_size")),
    )
    assert rows == pytest.approx(made["pixel_values"].numpy(), abs=1e-6)


def grown(words) -> dict[bytes, int]:
    ranks = {bytes([byte]): byte for byte in range(256)}
    for word in words:
        for length in range(2, len(word) + 1):
            ranks.setdefault(word[:length], len(ranks))
    return ranks


def test_merges_give_what_ranks_give():
    """Breaks when a recovered pair is not the one that the ranks merge first. The texts have few
    letters, so that many merges compete."""
    pick = random.Random(0)
    ranks = grown([bytes(pick.choices(b"abc", k=pick.randint(2, 5))) for _ in range(60)])
    tokenizer = build(ranks)
    for _ in range(300):
        text = bytes(pick.choices(b"abc", k=pick.randint(1, 30)))
        wanted = [ranks[token] for token in parts(text, ranks, len(ranks))]
        assert tokenizer.encode(text.decode(), add_special_tokens=False).ids == wanted, text


def test_ranks_that_are_none_are_refused(tmp_path):
    """Breaks when a broken rank file becomes a tokenizer, or the message does not say where it is
    broken."""
    lines = [base64.b64encode(bytes([byte])) + b" %d" % byte for byte in range(256)]
    for broken, words in [
        ([*lines, b"YWI= x"], "line 257"),
        ([*lines, b"!!! 256"], "line 257"),
        (lines[:-1], "255 tokens"),
        ([*lines, b"YWI= 300"], "257 tokens"),
    ]:
        path = tmp_path / "ranks"
        path.write_bytes(b"\n".join(broken))
        with pytest.raises(ExportError, match=words):
            read_ranks(path)
    with pytest.raises(ExportError, match="not merged from two lower ones"):
        build({bytes([byte]): byte for byte in range(256)} | {b"abc": 256})


def test_the_small_tokenizers_meet_what_they_are_for():
    """Breaks when the goldens no longer hold a text that is decomposed, unknown to the vocabulary,
    or longer than the file's truncation."""
    bpe, unigram = (
        tiny_tokenizers.cases(make()) for make in (tiny_tokenizers.bpe, tiny_tokenizers.unigram)
    )
    assert any(case["decoded"] != case["text"] for case in bpe) and all(
        len(case["decoded"]) <= len(case["text"]) for case in bpe
    )
    assert any(2 in case["ids"] for case in unigram) and any(
        len(case["ids"]) > 8 for case in unigram
    )


@pytest.mark.skipif(
    not QWEN.exists(), reason=f"{QWEN} is not there: Qwen's ids were compared with nothing"
)
def test_qwens_ids_are_those_of_tiktoken():
    """Breaks when a merge, the pre-tokenizer or a special token is not Qwen's."""
    tokenizer = build(read_ranks(QWEN / "qwen.tiktoken"))
    for case in json.loads((QWEN / "qwen_golden.json").read_text()):
        assert tokenizer.encode(case["text"], add_special_tokens=False).ids == case["ids"], case[
            "text"
        ]
    assert tokenizer.token_to_id("<|image_pad|>") == 151655 and tokenizer.get_vocab_size() == 151669
