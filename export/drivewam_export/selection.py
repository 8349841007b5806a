"""Scores of the KV memory, transcribed from the paper (Eq. 6-7) and FlowCache.

s_j = lambda rho_j - (1 - lambda) eta_j over the tokens of one pool. The top B - |new| old tokens
stay. All in f64. The runtime's oracle is core/selection.
"""

from __future__ import annotations

import torch


def relevance(keys: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """rho [n]: mean over queries of softmax(q.k / sqrt(d)). `keys` [n, d], `queries` [N, d]."""
    return (queries @ keys.T / keys.shape[1] ** 0.5).softmax(-1).mean(0)


def redundancy(keys: torch.Tensor) -> torch.Tensor:
    """eta [n]: mean cosine to every other key; 0 for a lone key and for one without direction
    (shorter than the smallest normal f32)."""
    norm = keys.norm(dim=-1, keepdim=True)
    unit = torch.where(norm >= torch.finfo(torch.float32).tiny, keys / norm, torch.zeros_like(keys))
    cosine = (unit @ unit.T).fill_diagonal_(0.0)
    return cosine.sum(-1) / max(len(keys) - 1, 1)


def pooled(
    rho: torch.Tensor, chunk: torch.Tensor, token: torch.Tensor, kernel: int
) -> torch.Tensor:
    """Maximum of rho over tokens of the same chunk at most kernel // 2 token indices away."""
    near = (chunk[:, None] == chunk) & ((token[:, None] - token).abs() <= kernel // 2)
    return torch.where(near, rho, -torch.inf).amax(-1)


def scores(
    keys: torch.Tensor,
    queries: torch.Tensor,
    new: torch.Tensor,
    chunk: torch.Tensor,
    token: torch.Tensor,
    *,
    lam: float = 0.07,
    heads: str = "shared",
    normalise: str = "literal",
    max_pool: int = 0,
    scored: str = "pool",
    max_age_chunks: int = 0,
    now: int = 0,
) -> torch.Tensor:
    """Scores [sets, n] f32 of the valid old tokens: `keys` [H, n, D], `queries` [H, N, D], `new`
    [H, M, D] of chunk `now`, `chunk` and `token` [n].

    A token more than `max_age_chunks` (unless 0) older than `now` has the least finite score.
    """
    n = keys.shape[1]
    too_old = (now - chunk > max_age_chunks) & (max_age_chunks > 0)
    if scored == "pool_and_new":
        keys = torch.cat([keys, new], 1)
        chunk = torch.cat([chunk, torch.full((new.shape[1],), -1)])
        token = torch.cat([token, torch.arange(new.shape[1])])

    def sets(x: torch.Tensor) -> torch.Tensor:
        x = x.double()
        return x if heads == "per_head" else x.transpose(0, 1).flatten(1)[None]

    rows = []
    for k, q in zip(sets(keys), sets(queries)):
        rho, eta = relevance(k, q), redundancy(k)
        if max_pool > 1:
            rho = pooled(rho, chunk, token, max_pool)
        if normalise == "softmax":
            rho, eta = rho.softmax(0), eta.softmax(0)
        rows.append((lam * rho - (1 - lam) * eta)[:n])
    return torch.stack(rows).float().masked_fill(too_old, torch.finfo(torch.float32).min)


def kept(score: torch.Tensor, chunk: torch.Tensor, token: torch.Tensor, count: int) -> list[int]:
    """Ascending positions of the `count` best. Of equal scores the older chunk stays, then the
    lower token index."""
    best_first = sorted(
        range(len(score)), key=lambda j: (-score[j].item(), chunk[j].item(), token[j].item())
    )
    return sorted(best_first[:count])
