"""The reference ride: packed passes against the published loop, the memory's bookkeeping, and the
packed teacher-forced forward.
"""

import dataclasses
import math

import pytest
import torch

from conftest import closeness
from drivewam_export import selection
from drivewam_export.memory import Memory, MemoryFull, MemoryOptions
from drivewam_export.model import DriveWam, transformer
from drivewam_export.packed import Layout, patchify, self_scale
from drivewam_export.rollout import Options, Rollout
from drivewam_export.schedule import action_steps, video_steps

BOUND = 1e-5


@pytest.fixture
def small(tiny):
    """Two layers suffice for these tests."""
    return dataclasses.replace(tiny, layers=2)


def scene(config, chunks, seed=0):
    """A model and the inputs of `chunks` steps."""
    torch.manual_seed(seed)
    model = DriveWam(config).eval()
    c, g = config, torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.randn(*shape, generator=g)
    steps = []
    for _ in range(chunks):
        action, action_noise = rand(c.na, c.token_width), rand(c.na, c.token_width)
        action[:, c.action.channels :] = 0
        steps.append(
            {
                "latent": rand(c.latent.channels, c.latent.height, c.latent.width),
                "action": action,
                "rows": rand(4, c.text.dim),
                "ego": torch.rand(3, generator=g),
                "noise": rand(c.nv, c.token_width),
                "action_noise": action_noise,
            }
        )
    return model, steps


def ride(model, options, steps, forced=None):
    rollout = Rollout(model, options)
    return [
        rollout.step(**step, forced=None if forced is None else forced[i])
        for i, step in enumerate(steps)
    ]


def difference(a, b, config):
    """Largest relative difference of the velocities of two rides; action rows on the used channels
    only."""
    worst = 0.0
    used = list(config.action.used_channels)
    for x, y in zip(a, b):
        worst = max(worst, *(closeness(v, w) for v, w in zip(x.video_velocity, y.video_velocity)))
        worst = max(
            worst,
            *(
                closeness(v[:, used], w[:, used])
                for v, w in zip(x.action_velocity, y.action_velocity)
            ),
        )
        worst = max(
            worst,
            *(
                closeness(v, w)
                for v, w in zip(
                    (t for layer in x.observed.outputs for t in layer),
                    (t for layer in y.observed.outputs for t in layer),
                )
            ),
        )
    return worst


def options(policy="selective", **kwargs):
    memory = MemoryOptions(policy, video_slots=112, action_slots=32, max_chunks=8)
    return Options(memory=memory, video_shift=2.0, **kwargs)


@pytest.mark.parametrize(
    "commit, unpacked", [("end_time", 17), ("zero_time", 17), ("last_step", 16)]
)
@pytest.mark.parametrize("policy", ["selective", "fifo", "full"])
def test_fourteen_packed_passes_equal_the_published_loop(
    small, policy, commit, unpacked, monkeypatch
):
    """Breaks when a packed pass lets video rows see action rows, reads another context, or commits
    other rows. A broken mask proves it."""
    model, steps = scene(small, 7)
    packed = ride(model, options(policy, video_commit=commit), steps)
    forced = [
        {"video": c.observed.video.destinations, "action": c.observed.action.destinations}
        for c in packed
    ]
    loop = ride(model, options(policy, video_commit=commit, passes="unpacked"), steps, forced)
    assert {c.passes for c in packed} == {14} and {c.passes for c in loop} == {unpacked}
    error = difference(packed, loop, small)
    monkeypatch.setattr(transformer, "MASKED", 0.0)
    broken = difference(
        ride(model, options(policy, video_commit=commit), steps, forced), loop, small
    )
    print(f"{policy} {commit}: relative difference {error:.1e}, with a broken mask {broken:.1e}")
    assert error <= BOUND < broken / 10


def test_three_kinds_of_video_commit_are_three_different_rides(small):
    model, steps = scene(small, 1)
    rides = [
        ride(model, options(video_commit=kind), steps)
        for kind in ("end_time", "zero_time", "last_step")
    ]
    for i in range(3):
        for j in range(i):
            assert closeness(rides[i][0].action_velocity[0], rides[j][0].action_velocity[0]) > 1e-3


def test_a_ride_with_full_memory_equals_the_packed_teacher_forced_forward(small):
    """Breaks when positions, flow times, contexts, chunk 0's context or the commits differ between
    the ride and training."""
    model, steps = scene(small, 4)
    last = ride(model, options("full"), steps)[-1]
    c, chunks = small, 5
    layout = Layout(c, chunks, 1, noisy_from=chunks - 1)
    final = chunks - 1
    tokens = torch.zeros(1, layout.length, c.token_width)
    times = torch.zeros(1, len(layout.groups))
    for i, step in enumerate(steps):
        tokens[0, layout.find(i, False, False)[1].span] = patchify(c, step["latent"])
        tokens[0, layout.find(i, True, False)[1].span] = step["action"]
    reads = [max(k, 1) - 1 for k in range(chunks)]  # the step with chunk k's guidance and ego state
    pad = torch.zeros(1, c.text.dim)
    text = torch.stack([torch.cat([steps[r]["rows"], pad]) for r in reads])[None]
    ego = torch.stack([steps[r]["ego"] for r in reads])[None]
    flat = lambda x: x.transpose(1, 2).flatten(2, 3)
    text_kv = [(flat(k), flat(v)) for k, v in model.context_text(text)]
    ego_kv = [(flat(k), flat(v)) for k, v in model.context_ego(ego)]
    text_bias = layout.context_bias(5)
    text_bias[..., 4::5] += math.log(c.text.padded_rows - 4)
    scale = self_scale(layout.visible.sum(-1))[None]
    run = lambda: model.packed(
        layout, tokens, times, layout.self_bias(), scale, text_kv, text_bias, ego_kv
    )[0]
    vi, v = layout.find(final, False, True)
    ci, clean = layout.find(final, False, False)
    ai, a = layout.find(final, True, True)
    used, worst = list(c.action.used_channels), 0.0
    tokens[0, v.span] = steps[-1]["noise"]
    with torch.no_grad():
        for (tau, after), got in zip(
            video_steps(3, 2.0, {"tau": 0.6}), last.video_velocity, strict=True
        ):
            times[0, vi] = tau
            wanted = run()[v.span]
            worst = max(worst, closeness(got, wanted))
            tokens[0, v.span] += (after - tau) * wanted
        tokens[0, clean.span], times[0, ci] = tokens[0, v.span], 0.6
        tokens[0, a.span] = steps[-1]["action_noise"]
        tokens[0, a.span, c.action.channels :] = 0
        for (tau, after), got in zip(action_steps(10, 1.0), last.action_velocity, strict=True):
            times[0, ai] = tau
            wanted = run()[a.span]
            worst = max(worst, closeness(got[:, used], wanted[:, used]))
            tokens[0, a.span] += (after - tau) * wanted
    print(f"largest relative difference {worst:.1e}")
    assert worst <= BOUND


def test_slots_are_filled_from_below_then_overwritten_where_the_score_is_lowest(small):
    """Breaks when free slots are not taken in order, a token lands in another slot, or another
    token than the lowest-scored is evicted."""
    model, steps = scene(small, 7)
    memory = Rollout(model, options()).memory
    for chunk in range(7):
        before = [(k.clone(), memory.chunk.clone(), memory.token.clone()) for k in memory.k]
        g = torch.Generator().manual_seed(chunk)
        outputs = [
            tuple(torch.randn(small.heads, small.nv, small.head_dim, generator=g) for _ in range(3))
            for _ in range(small.layers)
        ]
        chosen = memory.commit("video", chunk, outputs)
        for layer, (k, _, q) in enumerate(outputs):
            slots = chosen.destinations[layer, 0]
            assert slots.tolist() == sorted(slots.tolist())
            assert torch.equal(memory.k[layer][:, slots], k)
            assert torch.equal(memory.token[layer, 0, slots], torch.arange(small.nv))
            if chunk < 4:
                assert (
                    slots.tolist() == list(range(chunk * small.nv, (chunk + 1) * small.nv))
                    and chosen.scores is None
                )
            else:
                old, chunks, tokens = before[layer]
                score = selection.scores(
                    old[:, :112], q, k, chunks[layer, 0, :112], tokens[layer, 0, :112]
                )
                assert torch.equal(score[0], chosen.scores[layer, 0])
                gone, kept = (
                    score[0, slots],
                    score[0][[j for j in range(112) if j not in slots.tolist()]],
                )
                assert gone.max() <= kept.min()
    assert int(memory.valid.sum()) == 112


def test_fifo_forgets_the_oldest_chunk_and_full_says_which_key_to_raise(small):
    outputs = [
        tuple(torch.randn(small.heads, small.na, small.head_dim) for _ in range(3))
    ] * small.layers
    fifo = Memory(small, MemoryOptions("fifo", 112, 32))
    for chunk in range(6):
        fifo.commit("action", chunk, outputs)
    region = fifo.regions["action"]
    assert sorted(fifo.chunk[0, 0, region].tolist()) == sorted([2, 3, 4, 5] * small.na)
    full = Memory(small, MemoryOptions("full", max_chunks=2))
    full.commit("action", 0, outputs)
    full.commit("action", 1, outputs)
    with pytest.raises(MemoryFull, match="memory.max_chunks"):
        full.commit("action", 2, outputs)


def test_per_head_sets_choose_for_themselves(small):
    model, steps = scene(small, 6)
    memory = MemoryOptions(
        "selective", 112, 32, scoring={"heads": "per_head", "normalise": "softmax"}
    )
    places = ride(model, Options(memory=memory), steps)[-1].observed.video.destinations
    assert places.shape == (small.layers, small.heads, small.nv)
    assert any(not torch.equal(places[0, 0], places[0, head]) for head in range(1, small.heads))


def test_options_are_read_from_the_configuration_file():
    import yaml

    from conftest import ROOT

    got = Options.of(yaml.safe_load((ROOT / "tests/golden/ride.yaml").read_text()))
    assert (
        got.video_steps,
        got.video_shift,
        got.video_end,
        got.action_steps,
        got.action_start,
    ) == (3, 2.0, {"tau": 0.6}, 10, "zero")
    assert (got.memory.policy, got.memory.video_slots, got.memory.action_slots) == (
        "selective",
        112,
        32,
    )
    with pytest.raises(ValueError, match="video_commit"):
        Options(video_commit="never")
