"""The graphs of the guidance against the classes of `transformers` that they come from, with random
weights.
"""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen3VLForConditionalGeneration

from conftest import closeness
from drivewam_export.folder import ExportError
from drivewam_export.guidance import decoder as decoders
from drivewam_export.guidance.export import export
from drivewam_export.guidance.generate import (
    Memory,
    VlmGuidance,
    expand,
    patch_rows,
    positions,
    rope_table,
)
from drivewam_export.guidance.past_present import PastPresent
from drivewam_export.guidance.random_models import END, IMAGE, START, encoder, vlm
from drivewam_export.model.transformer import MASKED

SIZES = [(16, 24), (32, 16)]  # height, width in pixels
SEEN = [[], SIZES[:1], SIZES[1:], SIZES, [SIZES[1], SIZES[1]], SIZES[::-1]]  # images of a prompt
MODELS = (0, 1, 2)  # seeds; the last has tied embeddings
CAP = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Per seed, the model, the loop over its graphs, and their folder."""
    out = {}
    for seed in MODELS:
        folder = tmp_path_factory.mktemp("guidance") / str(seed)
        model = vlm(seed, tied=seed == MODELS[-1])
        export(model, None, folder, SIZES)
        out[seed] = model, VlmGuidance(folder), folder
    return out


def prompt(seed: int, sizes):
    """Random text with one placeholder per image, and the images."""
    g = np.random.default_rng(seed)
    words = lambda count: g.integers(0, IMAGE, count).tolist()
    ids, images = words(int(g.integers(1, 12))), []
    for height, width in sizes:
        ids += [START, IMAGE, END, *words(int(g.integers(1, 7)))]
        images.append((patch_rows(g.standard_normal((3, height, width)), 4, 2, 2), height, width))
    return ids, images


def asked(model, ids, images) -> dict[str, torch.Tensor]:
    """The inputs of `transformers`."""
    tokens = torch.tensor([expand(ids, IMAGE, [len(patches) // 4 for patches, *_ in images])])
    out = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if not images:
        return out
    grids = torch.tensor([[1, height // 4, width // 4] for _, height, width in images])
    pixels = torch.from_numpy(np.concatenate([patches for patches, *_ in images]))
    return out | {
        "mm_token_type_ids": (tokens == IMAGE).int(),
        "pixel_values": pixels,
        "image_grid_thw": grids,
    }


def wanted(model, ids, images, cap=CAP):
    """Greedy tokens and the logits [V] of each step."""
    inputs = asked(model, ids, images)
    out = model.generate(
        **inputs,
        do_sample=False,
        max_new_tokens=cap,
        return_dict_in_generate=True,
        output_logits=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    return out.sequences[0, inputs["input_ids"].shape[1] :].tolist(), torch.cat(out.logits)


def test_greedy_tokens_and_logits_are_those_of_transformers(made):
    """Breaks with any wrong part: mask, rope sections, positions after an image, deepstack level,
    head group, order of patches."""
    worst, texts = 0.0, []
    for seed, (model, guide, _) in made.items():
        for sizes, draw in itertools.product(SEEN, (10, 20, 30)):
            ids, images = prompt(seed + draw, sizes)
            tokens, logits = wanted(model, ids, images)
            answer = guide.generate(ids, images, CAP)
            assert answer.tokens == tokens, (seed, sizes, draw)
            worst = max(
                [
                    worst,
                    *(
                        closeness(torch.from_numpy(got), row)
                        for got, row in zip(answer.logits, logits, strict=True)
                    ),
                ]
            )
            texts.append(tuple(tokens))
    words = sum(len(set(text)) for text in texts) / len(texts)
    print(
        f"{len(texts)} prompts, logits: {worst:.1e}, {words:.1f} different tokens of {CAP} in a text, {len(set(texts))} different texts"
    )
    assert worst < 1e-4
    assert len(set(texts)) > 0.9 * len(texts) and words > 5, (
        "texts that repeat one token would prove little"
    )


def test_the_peer_with_past_and_present_returns_the_tokens_of_transformers(made, tmp_path):
    """Breaks when the benchmark's peer leaves out an image, deepstack rows, a position or a past:
    it would be faster for nothing."""
    for seed in MODELS:
        model, guide, _ = made[seed]
        peer = PastPresent(model, tmp_path / str(seed), SIZES[0], 2, 1)
        for case in range(3):
            ids, images = prompt(case, [SIZES[0]] * 2)
            wanted = guide.generate(ids, images, CAP).tokens
            pixels = np.concatenate([patches for patches, *_ in images])
            assert peer.generate(ids, pixels, CAP) == wanted, (seed, case)


def test_an_answer_ends_at_its_end_token_or_its_cap(made):
    """Breaks when the end token is left out, or decoding continues after it."""
    _, guide, _ = made[0]
    whole = guide.generate(*prompt(0, SIZES[:1]), CAP).tokens
    end = next(token for token in whole if token != whole[0])
    assert (
        guide.generate(*prompt(0, SIZES[:1]), CAP, end_tokens=(end,)).tokens
        == whole[: whole.index(end) + 1]
    )
    assert guide.generate(*prompt(0, SIZES[:1]), 3).tokens == whole[:3]


def test_prefill_in_one_pass_equals_token_by_token_and_slots_in_any_order(made):
    """Breaks when rows of a pass see later rows, when a masked slot is read, or when the order of
    slots matters."""
    _, guide, _ = made[1]
    rows, _ = guide.prefill_inputs(*prompt(1, SIZES))
    count = len(rows["ids"])
    order = np.random.default_rng(0).permutation(count + 5)
    one = Memory(guide.facts, count)
    logits = guide.prefill(rows, one)
    for rows_per_pass in (1, 4, 7):
        many = Memory(guide.facts, count + 5, order)
        many.pools[0][1][:] = 100.0  # the content of an empty slot is never read
        got = guide.prefill(rows, many, rows_per_pass)
        assert closeness(torch.from_numpy(got), torch.from_numpy(logits)) < 1e-5
        for (k, v), (k_one, v_one) in zip(many.pools, one.pools):
            for pool, single in ((k, k_one), (v, v_one)):
                assert (
                    closeness(torch.from_numpy(pool[:, order[:count]]), torch.from_numpy(single))
                    < 1e-5
                )
    with pytest.raises(ValueError, match="memory of .* slots holds .* do not fit"):
        guide.prefill(rows, one)


def test_rows_that_are_no_image_rows_read_no_image(made):
    """Breaks when a buffer that was not cleared leaks into text rows."""
    _, guide, _ = made[0]
    rows, _ = guide.prefill_inputs(*prompt(0, SIZES))
    dirty = {name: value.copy() for name, value in rows.items()}
    for name in ("image", "deepstack.0", "deepstack.1"):
        dirty[name][rows["is_image"] == 0] = 7.0
    clean = guide.prefill(rows, Memory(guide.facts, len(rows["ids"])))
    assert (guide.prefill(dirty, Memory(guide.facts, len(rows["ids"]))) == clean).all()


def test_positions_and_rope_are_the_model_s(made):
    """Breaks when an image advances time, when text continues after the shorter side, or when
    sections are not interleaved."""
    model, guide, _ = made[0]
    for seed, sizes in enumerate(SEEN[1:]):
        ids, images = prompt(seed, sizes)
        inputs = asked(model, ids, images)
        places, delta = model.model.get_rope_index(
            inputs["input_ids"], inputs["mm_token_type_ids"], inputs["image_grid_thw"]
        )
        got, behind = positions(
            ids, IMAGE, [(height // 8, width // 8) for _, height, width in images]
        )
        assert (places[:, 0].T.numpy() == got).all()
        assert behind == inputs["input_ids"].shape[1] + delta.item()
        cos, sin = model.model.language_model.rotary_emb(torch.zeros(1), places)
        table = rope_table(got, guide.facts["rope"])
        for values, column in ((cos, 0), (sin, 1)):
            assert np.abs(values[0, :, :8].numpy() - table[..., column]).max() < 2e-7
            assert (values[0, :, :8] == values[0, :, 8:]).all()


@pytest.mark.parametrize("seed", MODELS)
def test_vision_equals_the_tower(made, seed):
    """Breaks with a wrong order of patches, a transposed grid, an interpolation with other corners,
    or deepstack levels in a wrong order."""
    model, guide, _ = made[seed]
    for sizes in (SIZES[:1], SIZES[1:]):
        ((patches, height, width),) = prompt(seed, sizes)[1]
        with torch.no_grad():
            out = model.model.visual(
                torch.from_numpy(patches), grid_thw=torch.tensor([[1, height // 4, width // 4]])
            )
        got, grid = guide.encode_image(patches, height, width)
        assert grid == (height // 8, width // 8)
        worst = max(
            closeness(torch.from_numpy(a), b)
            for a, b in zip(got, [out.pooler_output, *out.deepstack_features], strict=True)
        )
        print(f"vision: {worst:.1e}")
        assert worst < 1e-5
    with pytest.raises(ValueError, match="image of 8 x 8 pixels: wanted one of"):
        guide.encode_image(patches, 8, 8)


def test_patches_are_those_of_the_image_processor():
    """Breaks with another order of patches or channels. Resizing is not compared: the size is
    already a multiple."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil(
        patch_size=4,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": 64, "longest_edge": 4096},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    out = processor(images=[image], return_tensors="np")
    got = patch_rows((image.astype(np.float32).transpose(2, 0, 1) / 255 - 0.5) / 0.5, 4, 2, 2)
    assert out["image_grid_thw"].tolist() == [[1, 4, 6]]
    assert np.abs(out["pixel_values"] - got).max() < 1e-6


def test_the_decoder_copies_no_memory_and_no_weight_stands_inline(made):
    """Breaks when keys are concatenated or repeated per head, when a weight is folded or transposed
    into the graph, or when a tied one is stored twice."""
    for seed, (model, _, folder) in made.items():
        for path in folder.glob("*.onnx"):
            graph = onnx.load(path, load_external_data=False).graph
            assert sum(len(tensor.raw_data) for tensor in graph.initializer) == 0
            weights = {tensor.name for tensor in graph.initializer}
            assert not [
                node.name
                for node in graph.node
                if node.op_type == "Transpose" and node.input[0] in weights
            ], path.name
            assert all(node.domain == "" for node in graph.node)
        graph = onnx.load(folder / "vlm_decoder.onnx", load_external_data=False).graph
        readers = {
            name: [] for name in (f"mem_{stem}.{layer}" for stem in "kv" for layer in range(3))
        }
        for node in graph.node:
            for name in set(node.input) & set(readers):
                readers[name].append(node.op_type)
        for name, operators in readers.items():
            assert set(operators) <= {"MatMul", "Shape"} | (
                {"Transpose"} if "_k" in name else set()
            ), (name, operators)
        names = {
            name
            for file in ("vlm_decoder", "vlm_vision")
            for name in load_file(folder / f"{file}.safetensors")
        }
        kept = set(model.state_dict()) - ({"lm_head.weight"} if seed == 2 else set())
        assert names == kept | {
            f"vlm_vision.{h}x{w}.{table}" for h, w in SIZES for table in ("positions", "rope")
        }


def test_a_saved_checkpoint_exports_to_the_same_bytes(made, tmp_path):
    """Breaks when the export depends on more than the checkpoint. Includes tied weights."""
    model, _, folder = made[2]
    model.save_pretrained(tmp_path / "checkpoint")
    export(
        Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "checkpoint"),
        None,
        tmp_path / "again",
        SIZES,
    )
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_tests_notice_a_broken_part(made, tmp_path, monkeypatch):
    """Breaks when the tiny models no longer depend on the parts that the other tests compare."""
    model, guide, _ = made[0]
    ids, images = prompt(0, SIZES)
    _, logits = wanted(model, ids, images, 1)
    differs = lambda rows, guide=guide: closeness(
        torch.from_numpy(guide.prefill(rows, Memory(guide.facts, len(rows["ids"])))), logits[0]
    )
    rows, _ = guide.prefill_inputs(ids, images)
    places, _ = positions(ids, IMAGE, [(height // 8, width // 8) for _, height, width in images])
    assert differs(rows) < 1e-4
    rope = guide.facts["rope"]
    assert differs(rows | {"rope": rope_table(places, rope | {"sections": [4, 3, 1]})}) > 1e-3, (
        "sections"
    )
    assert differs(rows | {"rope": rope_table(places, rope | {"sections": [8, 0, 0]})}) > 1e-3, (
        "time alone"
    )
    assert (
        differs(rows | {"rope": rope_table(np.arange(len(places))[:, None].repeat(3, 1), rope)})
        > 1e-3
    ), "positions without images"
    assert (
        differs(rows | {"deepstack.0": rows["deepstack.1"], "deepstack.1": rows["deepstack.0"]})
        > 1e-3
    ), "levels"
    monkeypatch.setattr(
        decoders,
        "causal_bias",
        lambda rows: torch.zeros(rows.shape[0], rows.shape[0]) + rows[:, 0] * 0,
    )
    export(model, None, tmp_path / "blind", SIZES)
    assert differs(rows, VlmGuidance(tmp_path / "blind")) > 1e-3, "causal mask"


def test_what_cannot_be_exported_is_refused(made, tmp_path):
    """Breaks when an image is silently cut to whole patches, when a refused export leaves a folder,
    or when images are lost."""
    model, _, _ = made[0]
    with pytest.raises(ExportError, match="image of 16 x 20 pixels: wanted multiples of 8"):
        export(model, None, tmp_path / "out", [(16, 20)])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="1 image placeholders in the prompt, wanted 2"):
        expand([1, IMAGE], IMAGE, [4, 4])


@pytest.mark.parametrize("rows, seed", [(9, 0), (48, 1)])
def test_text_encode_equals_the_encoder(tmp_path, rows, seed):
    """Breaks when scores are scaled, when far differences get buckets of their own, when the bias
    is mirrored, or when padding is visible."""
    model = encoder(seed)
    export(None, model, tmp_path / "text", rows=rows)
    session = onnxruntime.InferenceSession(
        str(tmp_path / "text/text_encode.onnx"), providers=["CPUExecutionProvider"]
    )
    g, worst = torch.Generator().manual_seed(seed), 0.0
    for count in (rows, rows - 3, 2, 1):
        real = torch.arange(rows) < count
        tokens = torch.randint(1, 80, (rows,), generator=g) * real
        with torch.no_grad():
            expected = model(
                input_ids=tokens[None], attention_mask=real[None].long()
            ).last_hidden_state[0]
        (got,) = session.run(
            ["text"],
            {"ids": tokens.float().numpy(), "pad_bias": torch.where(real, 0.0, MASKED).numpy()},
        )
        worst = max(worst, closeness(torch.from_numpy(got), expected))
    print(f"text: {worst:.1e}")
    assert worst < 1e-5
    assert set(load_file(tmp_path / "text/text_encode.safetensors")) == set(model.state_dict()) - {
        "encoder.embed_tokens.weight"
    }
