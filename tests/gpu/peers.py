"""What the kernels are measured against, on the same GPU: the copy bandwidth, and the same formulas in PyTorch.

    python tests/gpu/peers.py OURS.json        # figures of `drivewam-gpu bench`; prints the comparison

(a) vectorised per layer, eager and compiled, with nothing read back; (b) as FlowCache's published loop does it: per layer and head set, the chosen indices
come to the host before the next layer begins. Both select and overwrite both pools of all layers: the paper's shape, bf16."""

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
    """[n] of keys [H, n, D] and queries [H, N, D], over the whole width, sums in f32 (Eq. 6-7)."""
    heads, n, width = keys.shape
    logits = torch.einsum("hqd,hnd->qn", queries.float(), keys.float()) / (heads * width) ** 0.5
    rho = logits.softmax(-1).mean(0)
    flat = keys.float().transpose(0, 1).reshape(n, heads * width)
    unit = flat / flat.norm(dim=-1, keepdim=True)
    eta = (unit @ unit.sum(0) - 1.0) / (n - 1)
    return LAMBDA * rho - (1 - LAMBDA) * eta


def commit(mem_k, mem_v, k, v, q):
    """One layer and pool, in place; nothing comes to the host."""
    gone = scores(mem_k, q).topk(k.shape[1], largest=False).indices
    mem_k.index_copy_(1, gone, k)
    mem_v.index_copy_(1, gone, v)


def commit_synced(mem_k, mem_v, k, v, q):
    """The same as the published loop has it: a new memory of what stays and what is new, put together from indices on the host."""
    stays = scores(mem_k, q).topk(mem_k.shape[1] - k.shape[1]).indices.sort().values.tolist()
    return torch.cat([mem_k[:, stays], k], 1), torch.cat([mem_v[:, stays], v], 1)


def timed(body, rounds=7, each=10):
    """Median, least and most microseconds of a call."""
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
    bandwidth = 2 * a.numel() / copy["median"] * 1e-6  # TB/s, read and written
    del a, b

    def tensors(rows):
        return [torch.randn(HEADS, rows, WIDTH, device="cuda", dtype=torch.bfloat16) for _ in range(LAYERS)]

    memory = {name: (tensors(size), tensors(size)) for name, (size, _) in POOLS.items()}
    new = {name: (tensors(fresh), tensors(fresh), tensors(fresh)) for name, (_, fresh) in POOLS.items()}

    def loop(one):
        for name in POOLS:
            for layer in range(LAYERS):
                one(*(t[layer] for t in memory[name]), *(t[layer] for t in new[name]))

    peers = {"PyTorch eager": timed(lambda: loop(commit))}
    try:
        compiled = torch.compile(commit, dynamic=False)
        peers["PyTorch compiled"] = timed(lambda: loop(compiled))
    except Exception as error:  # no compiler on this machine: told, not hidden
        print(f"PyTorch compiled: not run: {type(error).__name__}: {str(error).splitlines()[0]}")
    peers["published loop (indices to the host)"] = timed(lambda: loop(commit_synced), each=3)

    graph = {"median": statistics.median(ours["graph_us"]), "least": min(ours["graph_us"]), "most": max(ours["graph_us"])}
    launches = {"median": statistics.median(ours["launches_us"]), "least": min(ours["launches_us"]), "most": max(ours["launches_us"])}
    print(f"\nselection and overwrite of a chunk, {LAYERS} layers, both pools, microseconds")
    for name, t in {"ours, one graph": graph, "ours, three launches": launches, **peers}.items():
        print(f"  {name:<40} {t['median']:>10.1f} [{t['least']:.1f}, {t['most']:.1f}]   {t['median'] / graph['median']:>7.1f} x ours")
    print(f"\nkernels one by one, with events around each (median microseconds); copy bandwidth of this GPU {bandwidth:.2f} TB/s")
    for name, all_us in ours["kernels_us"].items():
        us = statistics.median(all_us)
        line = f"  {name:<14} {us:>8.1f}"
        if name.startswith("score"):
            line += f"   keys, read once: {ours['key_bytes'] / us * 1e-6 / bandwidth:.0%} of the copy bandwidth"
        print(line)
    print(f"  graph nodes: {ours['graph_nodes']}")
    moved = ours["key_bytes"] + 3.5 * ours["new_bytes"]  # new keys and values looked at, copied and written; queries
    print(f"  all that must move: {moved * 1e-6:.0f} MB, {moved / graph['median'] * 1e-6 / bandwidth:.0%} of the copy bandwidth")


if __name__ == "__main__":
    main()
