"""The training mask and its consequences: leakage, and packed training against the step-by-step
forward with external memory.
"""

import pytest
import torch

from conftest import closeness
from drivewam_export.model import DriveWam
from drivewam_export.packed import MASKED, Layout, self_scale
from drivewam_export.rope import action_positions, table, video_positions


def setup(config, chunks, copies, seed=0, imagined=False):
    torch.manual_seed(seed)
    model = DriveWam(config).eval()
    layout = Layout(config, chunks, copies, imagined=imagined)
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, layout.length, config.token_width, generator=g)
    tokens[..., config.action.channels :] *= 1 - layout.is_action[:, None]
    times = torch.rand(1, len(layout.groups), generator=g)
    text = torch.randn(1, chunks, 5, config.text.dim, generator=g)
    ego = torch.randn(1, chunks, 3, generator=g)
    return model, layout, tokens, times, text, ego


def run(model, layout, tokens, times, text, ego):
    rows = text.shape[2]
    flat = lambda x: x.transpose(1, 2).flatten(2, 3)
    text_kv = [(flat(k), flat(v)) for k, v in model.context_text(text)]
    ego_kv = [(flat(k), flat(v)) for k, v in model.context_ego(ego)]
    scale = self_scale(layout.visible.sum(-1))[None] if model.config.self_scale == "log" else None
    return model.packed(
        layout, tokens, times, layout.self_bias(), scale, text_kv, layout.context_bias(rows), ego_kv
    )


def test_the_mask_is_the_table_of_the_paper_s_code(tiny):
    """Breaks when any of the four rules changes, or the rule that copies do not see one another."""
    layout = Layout(tiny, 3, copies=2)
    for q in layout.groups:
        for k in layout.groups:
            g_q, g_k = 2 * q.chunk + q.is_action, 2 * k.chunk + k.is_action
            if not q.noisy and not k.noisy:
                expected = g_k <= g_q
            elif q.noisy and not k.noisy:
                expected = g_k < g_q
            elif q.noisy and k.noisy:
                expected = g_k == g_q and q.copy == k.copy
            else:
                expected = False
            assert layout.visible[q.start, k.start].item() == expected, (q, k)


def test_noisy_actions_see_the_imagined_video_in_place_of_the_clean_one(tiny):
    """Breaks when a chunk's true video reaches its own actions, when another chunk's imagined video
    does, or when anything else of the mask changes."""
    layout, plain = Layout(tiny, 3, copies=2, imagined=True), Layout(tiny, 3, copies=2)
    sees = lambda l, q, k: l.visible[l.find(*q)[1].start, l.find(*k)[1].start].item()
    keys = [(g.chunk, g.is_action, g.noisy, g.copy) for g in layout.groups]
    for q in keys:
        for k in keys:
            q_video, k_video = (*q[:3], 0) if not q[1] else q, (*k[:3], 0) if not k[1] else k
            if q[1] and q[2] and q[0] == k[0] and not k[1]:
                expected = k[3] == 1
            elif (q[3] != k[3]) and not q[1] and not k[1] and q[2] and k[2]:
                expected = False
            elif q[1] != k[1] and q[2] and k[2]:
                expected = False
            else:
                expected = sees(plain, q_video, k_video)
            assert sees(layout, q, k) == expected, (q, k)


@pytest.mark.parametrize("imagined", [False, True])
def test_changing_an_unseen_token_moves_no_bit_and_a_seen_one_moves_the_output(tiny, imagined):
    """Breaks when attention, time, text or ego state leak between tokens that the mask separates.
    One layer shows direct visibility; all layers show that nothing reaches a query through a third
    token (the mask is transitive)."""
    model, layout, tokens, times, text, ego = setup(tiny, 3, 2, imagined=imagined)
    with torch.no_grad():
        base = run(model, layout, tokens, times, text, ego)
        for j, key in enumerate(layout.groups):
            changed = tokens.clone()
            changed[:, key.start, : tiny.action.channels] += 1.0
            out = run(model, layout, changed, times, text, ego)
            later = times.clone()
            later[:, j] = 0.5 * later[:, j] + 0.25
            timed = run(model, layout, tokens, later, text, ego)
            for i, query in enumerate(layout.groups):
                sees = layout.visible[query.start, key.start].item()
                same = torch.equal(out[:, query.span], base[:, query.span])
                assert same != sees, (
                    f"{query} {'sees' if sees else 'does not see'} {key}, but its output {'stayed' if same else 'moved'}"
                )
                assert torch.equal(timed[:, query.span], base[:, query.span]) != sees, (
                    query,
                    key,
                    "flow time",
                )
        for chunk in range(3):
            other_text, other_ego = text.clone(), ego.clone()
            other_text[:, chunk] += 1.0
            other_ego[:, chunk] += 1.0
            for out in (
                run(model, layout, tokens, times, other_text, ego),
                run(model, layout, tokens, times, text, other_ego),
            ):
                for query in layout.groups:
                    readers = {
                        k.chunk for k in layout.groups if layout.visible[query.start, k.start]
                    }
                    same = torch.equal(out[:, query.span], base[:, query.span])
                    assert same != (chunk in readers), (query, chunk)


def test_packed_training_equals_the_step_by_step_forward_with_external_memory(tiny):
    """Breaks when RoPE, self_scale, the memory's bias, the in-pass mask or the flow times of the
    `dit` graph differ from training's."""
    model, layout, tokens, times, text, ego = setup(tiny, 3, 1)
    c = tiny
    # One flow time per modality in a pass. The observed commit is clean, at times of its own.
    with torch.no_grad():
        packed = run(model, layout, tokens, times, text, ego)
        memory = [[], []]  # per pool: list over chunks of per-layer (k, v)

        def one(rows, is_action, time, positions, chunk):
            kv = [
                [
                    torch.cat([e[layer][i] for e in memory[0] + memory[1]], -2)
                    if memory[0] + memory[1]
                    else torch.zeros(c.heads, 0, c.head_dim)
                    for i in (0, 1)
                ]
                for layer in range(c.layers)
            ]
            slots = kv[0][0].shape[-2]
            empty = 3  # masked slots must have no effect
            kv = [
                [torch.cat([x, torch.full((c.heads, empty, c.head_dim), 7.0)], -2) for x in layer]
                for layer in kv
            ]
            bias = torch.cat([torch.zeros(slots), torch.full((empty,), MASKED)])
            flags = torch.tensor(is_action)
            n_video = int((1 - flags).sum())
            visible = torch.where(flags > 0, slots + len(flags), slots + n_video)
            text_kv = [(k[0], v[0]) for k, v in model.context_text(text[:, chunk])]
            ego_kv = [(k[0], v[0]) for k, v in model.context_ego(ego[:, chunk])]
            return model.dit(
                rows,
                flags,
                torch.stack(time),
                table(c, positions),
                bias,
                torch.zeros(text.shape[2]),
                self_scale(visible) if c.self_scale == "log" else None,
                kv,
                text_kv,
                ego_kv,
            )

        worst = 0.0
        for chunk in range(3):
            iv, v = layout.find(chunk, False, False)
            ia, a = layout.find(chunk, True, False)
            if chunk >= 1:
                inv, nv = layout.find(chunk, False, True)
                velocity, _ = one(
                    tokens[0, nv.span],
                    [0.0] * c.nv,
                    [times[0, inv], torch.tensor(0.3)],
                    video_positions(c, chunk),
                    chunk,
                )
                worst = max(worst, closeness(velocity, packed[0, nv.span]))
                # Packed pass: the clean video commit shares the pass of the noisy action.
                ina, na = layout.find(chunk, True, True)
                both = torch.cat([tokens[0, v.span], tokens[0, na.span]])
                velocity, _ = one(
                    both,
                    [0.0] * c.nv + [1.0] * c.na,
                    [times[0, iv], times[0, ina]],
                    torch.cat([video_positions(c, chunk), action_positions(c, chunk)]),
                    chunk,
                )
                worst = max(
                    worst,
                    closeness(
                        velocity[c.nv :, : c.action.channels],
                        packed[0, na.span, : c.action.channels],
                    ),
                )
                worst = max(worst, closeness(velocity[: c.nv], packed[0, v.span]))
            both = torch.cat([tokens[0, v.span], tokens[0, a.span]])
            velocity, outputs = one(
                both,
                [0.0] * c.nv + [1.0] * c.na,
                [times[0, iv], times[0, ia]],
                torch.cat([video_positions(c, chunk), action_positions(c, chunk)]),
                chunk,
            )
            worst = max(
                worst,
                closeness(
                    velocity[c.nv :, : c.action.channels], packed[0, a.span, : c.action.channels]
                ),
            )
            memory[0].append([(k[:, : c.nv], v[:, : c.nv]) for k, v, _ in outputs])
            memory[1].append([(k[:, c.nv :], v[:, c.nv :]) for k, v, _ in outputs])
    print(f"largest relative difference {worst:.1e}")
    assert worst <= 1e-5


def test_rope_of_video_tokens_is_diffusers(tiny):
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    for config in (tiny,):
        rope = WanRotaryPosEmbed(config.head_dim, config.patch, 64)
        latent = torch.zeros(
            1, config.latent.channels, 3, config.latent.height, config.latent.width
        )
        cos, sin = rope(latent)
        ours = torch.cat([table(config, video_positions(config, t)) for t in range(3)])
        assert torch.allclose(cos[0, :, 0, 0::2], ours[..., 0], atol=1e-6)
        assert torch.allclose(sin[0, :, 0, 1::2], ours[..., 1], atol=1e-6)


def test_indices_name_the_tokens_of_their_groups(tiny):
    """Breaks when an index is not the mask that it stands for, or when two layouts' tokens are
    confused."""
    layout, short = (Layout(tiny, 4, copies=n, noisy_from=2, imagined=bool(n)) for n in (2, 0))
    of = lambda layout, which: torch.tensor([which(g) for g in layout.groups])[
        layout.group
    ].nonzero()[:, 0]
    assert torch.equal(
        layout.rows(noisy=True, is_action=True, copy=1),
        of(layout, lambda g: g.noisy and g.is_action and g.copy == 1),
    )
    assert torch.equal(layout.rows(imagined=True), of(layout, lambda g: g.imagined))
    assert [layout.groups[i].imagined for i in layout.which(imagined=True)] == [True, True]
    groups, rows = short.shared(layout)
    key = lambda g: (g.chunk, g.is_action, g.noisy, g.copy, g.imagined)
    assert [key(layout.groups[i]) for i in groups] == [key(g) for g in short.groups]
    assert torch.equal(layout.within[rows], short.within) and torch.equal(
        layout.chunk[rows], short.chunk
    )
