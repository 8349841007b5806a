"""The loops that tests/gpu/peers.py times on a GPU compute what the kernels compute: here on the
CPU, against the transcription of the paper.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from drivewam_export import selection

PATH = Path(__file__).parents[2] / "tests/gpu/peers.py"


@pytest.fixture(scope="module")
def peers():
    spec = importlib.util.spec_from_file_location("peers", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_are_those_of_the_paper_and_both_loops_keep_the_same_tokens(peers):
    """Breaks when a peer is timed on another formula than ours, or evicts other tokens."""
    torch.manual_seed(0)
    mem_k, mem_v = torch.randn(4, 20, 16), torch.randn(4, 20, 16)
    k, v, q = (torch.randn(4, 6, 16) for _ in range(3))
    chunk, token = torch.arange(20) // 5, torch.arange(20) % 5
    wanted = selection.scores(mem_k, q, k, chunk, token, lam=peers.LAMBDA)[0]
    assert torch.allclose(peers.scores(mem_k, q), wanted, atol=1e-6)
    stays = selection.kept(wanted, chunk, token, 14)
    synced_k, synced_v = peers.commit_synced(mem_k, mem_v, k, v, q)
    assert torch.equal(synced_k, torch.cat([mem_k[:, stays], k], 1)) and torch.equal(
        synced_v[:, 14:], v
    )
    before = mem_k.clone()
    peers.commit(mem_k, mem_v, k, v, q)
    assert torch.equal(mem_k[:, stays], before[:, stays])
    gone = sorted(set(range(20)) - set(stays))
    assert {tuple(row.tolist()) for row in mem_k[0, gone]} == {tuple(row.tolist()) for row in k[0]}
