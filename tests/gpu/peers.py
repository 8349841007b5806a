"""Compares the kernels with the copy bandwidth and with PyTorch on the same GPU.

    python tests/gpu/peers.py OURS.json        # output of `drivewam-gpu bench`

PyTorch computes the same formulas in two ways: (a) vectorised per layer, eager and compiled,
without copies to the host; (b) like FlowCache's published loop, which copies the chosen indices of
a layer and head set to the host before the next layer begins. Both select and overwrite both pools
of all layers at the paper's size in bf16."""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch

LAYERS, HEADS, WIDTH = 30, 24, 128
POOLS = {"video": (448, 112), "action": (160, 40)}
LAMBDA = 0.07


def scores(keys, queries):
    """Scores [n] of keys [H, n, D] and queries [H, N, D] over all heads, sums in f32 (Eq. 6-7)."""
    heads, n, width = keys.shape
    logits = torch.einsum("hqd,hnd->qn", queries.float(), keys.float()) / (heads * width) ** 0.5
    rho = logits.softmax(-1).mean(0)
    flat = keys.float().transpose(0, 1).reshape(n, heads * width)
    unit = flat / flat.norm(dim=-1, keepdim=True)
    eta = (unit @ unit.sum(0) - 1.0) / (n - 1)
    return LAMBDA * rho - (1 - LAMBDA) * eta


def commit(mem_k, mem_v, k, v, q):
    """Commits one layer of a pool in place, without a copy to the host."""
    evicted = scores(mem_k, q).topk(k.shape[1], largest=False).indices
    mem_k.index_copy_(1, evicted, k)
    mem_v.index_copy_(1, evicted, v)


def commit_synced(mem_k, mem_v, k, v, q):
    """As the published loop: concatenates kept and new tokens by indices on the host."""
    kept = scores(mem_k, q).topk(mem_k.shape[1] - k.shape[1]).indices.sort().values.tolist()
    return torch.cat([mem_k[:, kept], k], 1), torch.cat([mem_v[:, kept], v], 1)


def timed(body, rounds=7, each=10):
    """Median, minimum and maximum microseconds of a call."""
    for _ in range(3):
        body()
    torch.cuda.synchronize()
    took = []
    for _ in range(rounds):
        since = time.perf_counter()
        for _ in range(each):
            body()
        torch.cuda.synchronize()
        took.append((time.perf_counter() - since) / each * 1e6)
    return {"median": statistics.median(took), "least": min(took), "most": max(took)}


def main() -> None:
    ours = json.load(open(sys.argv[1]))
    print(f"{ours['device']}; PyTorch {torch.__version__}, {torch.cuda.get_device_name()}")
    a = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    copy = timed(lambda: b.copy_(a), each=20)
    bandwidth = 2 * a.numel() / copy["median"] * 1e-6  # TB/s, reads and writes
    del a, b

    def tensors(rows):
        return [torch.randn(HEADS, rows, WIDTH, device="cuda", dtype=torch.bfloat16) for _ in range(LAYERS)]

    memory = {name: (tensors(size), tensors(size)) for name, (size, _) in POOLS.items()}
    new = {name: (tensors(new_tokens), tensors(new_tokens), tensors(new_tokens)) for name, (_, new_tokens) in POOLS.items()}

    def loop(one):
        for name in POOLS:
            for layer in range(LAYERS):
                one(*(t[layer] for t in memory[name]), *(t[layer] for t in new[name]))

    peers = {"PyTorch eager": timed(lambda: loop(commit))}
    try:
        compiled = torch.compile(commit, dynamic=False)
        peers["PyTorch compiled"] = timed(lambda: loop(compiled))
    except Exception as error:  # no compiler on this machine
        print(f"PyTorch compiled: not run: {type(error).__name__}: {str(error).splitlines()[0]}")
    peers["published loop (indices to the host)"] = timed(lambda: loop(commit_synced), each=3)

    graph = {"median": statistics.median(ours["graph_us"]), "least": min(ours["graph_us"]), "most": max(ours["graph_us"])}
    launches = {"median": statistics.median(ours["launches_us"]), "least": min(ours["launches_us"]), "most": max(ours["launches_us"])}
    print(f"\nselection and overwrite of a chunk, {LAYERS} layers, both pools, microseconds")
    for name, t in {"ours, one graph": graph, "ours, three launches": launches, **peers}.items():
        print(f"  {name:<40} {t['median']:>10.1f} [{t['least']:.1f}, {t['most']:.1f}]   {t['median'] / graph['median']:>7.1f} x ours")
    print(f"\nsingle kernels, timed with events (median microseconds); copy bandwidth of this GPU {bandwidth:.2f} TB/s")
    for name, all_us in ours["kernels_us"].items():
        us = statistics.median(all_us)
        line = f"  {name:<14} {us:>8.1f}"
        if name.startswith("score"):
            line += f"   keys, read once: {ours['key_bytes'] / us * 1e-6 / bandwidth:.0%} of the copy bandwidth"
        print(line)
    print(f"  graph nodes: {ours['graph_nodes']}")
    # New keys and values are checked, copied and written; queries are read.
    moved = ours["key_bytes"] + 3.5 * ours["new_bytes"]
    print(f"  required traffic: {moved * 1e-6:.0f} MB, {moved / graph['median'] * 1e-6 / bandwidth:.0%} of the copy bandwidth")


if __name__ == "__main__":
    main()
