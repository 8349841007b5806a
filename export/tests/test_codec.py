"""The small codec: its graphs equal its training form, and the cache carries the previous frame."""

import torch

from conftest import closeness
from drivewam_export.codec import Codec, Encode, EncodeFirst


def test_the_streaming_graphs_equal_the_batched_codec(tiny):
    """Breaks when the graph concatenates frames in another order than training does."""
    torch.manual_seed(0)
    codec = Codec(tiny).eval()
    codec.latent_mean.normal_()
    frames = torch.rand(1, 5, 3, 64, 112) * 2 - 1
    with torch.no_grad():
        _, cache = codec.encode_first(frames[:, :1])
        wanted, next_cache = codec.encode(frames[:, 1:], cache)
        first, first_cache = EncodeFirst(codec)(frames[0, :1])
        latent, out = Encode(codec)(frames[0, 1:], first_cache)
    assert first.shape == latent.shape == (24, 8, 14)
    assert closeness(latent, wanted[0]) < 1e-5 and closeness(out, next_cache) < 1e-5


def test_the_frame_before_a_chunk_reaches_its_latent_only_through_the_cache(tiny):
    torch.manual_seed(0)
    codec = Codec(tiny).eval()
    frames = torch.rand(4, 3, 64, 112)
    with torch.no_grad():
        _, a = EncodeFirst(codec)(torch.zeros(1, 3, 64, 112))
        _, b = EncodeFirst(codec)(torch.ones(1, 3, 64, 112))
        assert not torch.equal(Encode(codec)(frames, a)[0], Encode(codec)(frames, b)[0])
