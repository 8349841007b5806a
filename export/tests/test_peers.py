"""The loops that ours is compared with do the same work: they reach the same actions."""

import numpy as np
import torch

from conftest import closeness
from drivewam_export import selection
from drivewam_export.codec import Encode
from drivewam_export.folder import open_checkpoint
from drivewam_export.memory import MemoryOptions
from drivewam_export.peers import OnnxLoop, Published, best, best_numpy, flat
from drivewam_export.rollout import Options, Rollout


def inputs(c, chunks):
    g = torch.Generator().manual_seed(1)
    rand = lambda *shape: torch.randn(*shape, generator=g)
    for _ in range(chunks):
        frames = rand(c.image.frames_per_latent, 3, c.image.height, c.image.width).clamp(-1, 1)
        yield (
            frames,
            rand(c.na, c.token_width),
            torch.tensor([4.0, 0.5, 0.02]),
            rand(c.nv, c.token_width),
            rand(c.na, c.token_width),
        )


def test_the_peers_end_at_the_actions_of_the_reference(tiny, random_folder):
    """Breaks when a peer leaves out a pass, a key, the guidance's padding or a scale: it would be
    faster for nothing. Of the seven chunks three evict."""
    opened = open_checkpoint(str(random_folder), tiny)
    options = Options(
        MemoryOptions(policy="selective", video_slots=4 * tiny.nv, action_slots=4 * tiny.na),
        passes="unpacked",
        video_shift=2.0,
    )
    rows = next(iter(opened.rows.values()))
    reference, encode, cache = Rollout(opened.model, options), Encode(opened.codec), None
    peers = [
        Published(opened.model, opened.codec, options, False),
        OnnxLoop(random_folder, tiny, options, 1),
    ]
    cache = torch.zeros_like(peers[0].cache)
    for frames, action, ego, noise, action_noise in inputs(tiny, 7):
        with torch.no_grad():
            latent, cache = encode(frames, cache)
        wanted = reference.step(latent, action, rows, ego, noise, action_noise)
        assert wanted.passes == 17
        used = list(tiny.action.used_channels)
        for peer in peers:
            got = peer.chunk(frames.numpy(), action, rows, ego, noise, action_noise)
            assert closeness(got[:, used], wanted.action[:, used]) < 2e-4, type(peer).__name__
            assert peer.passes == 17


def test_selection_in_one_sum_keeps_what_the_transcription_keeps():
    """Breaks when the sum of unit keys is not what the mean cosine needs."""
    g = torch.Generator().manual_seed(2)
    keys, queries = torch.randn(4, 60, 16, generator=g), torch.randn(4, 9, 16, generator=g)
    scores = selection.scores(keys, queries, keys[:, :0], torch.zeros(60), torch.arange(60))[0]
    wanted = scores.topk(40).indices.sort().values
    assert torch.equal(best(flat(keys), flat(queries), 0.07, 40), wanted)
    assert np.array_equal(
        best_numpy(flat(keys.numpy()), flat(queries.numpy()), 0.07, 40), wanted.numpy()
    )
