"""Compares the runtime with the loops that people run today, in interleaved rounds.

`python -m drivewam_export.bench --out FILE --program target/release/drivewam`

In every round each contender drives a few chunks; the order is drawn anew. A ratio is the median
over rounds of (peer's time per chunk / ours), with the range that nine rounds of ten lie in. The
noise floor is the same ratio of our program to a second copy of itself. All run on the same
machine, the same cores and the same number of threads.

A chunk comprises: four frames to a latent, the observed commit with selection, all passes, a
trajectory. Rendering the frames is not part of it. The report also has the share of the chunk's
time that the transformer's matrix products alone need in plain `torch.matmul`, and selection on the
host at the paper's shape.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import yaml

from .bench_report import markdown
from .config import ModelConfig, load
from .folder import Checkpoint, open_checkpoint
from .peers import OnnxLoop, Published, best, best_numpy
from .rollout import Options


class Ours:
    """A process of our program. It drives as many chunks as it is asked for."""

    def __init__(
        self,
        program: Path,
        config: Path,
        threads: int,
        sets: list[str],
        env: dict | None = None,
        flags: tuple = (),
    ):
        sets = [f"engine.threads={threads}", f"target.threads={threads}", *sets]
        command = [
            str(program),
            "bench",
            str(config),
            *flags,
            *(part for s in sets for part in ("--set", s)),
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (env or {}),
        )
        self.ready = self._line()

    def _line(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"drivewam bench exited with status {self.process.wait()}")
        return json.loads(line)

    def run_chunks(self, chunks: int) -> list[float]:
        self.process.stdin.write(f"{chunks}\n")
        self.process.stdin.flush()
        self.last = self._line()
        return self.last["chunk_ms"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    """A Python loop that gets random numbers of the right shapes. Its time does not depend on their
    values."""

    def __init__(self, loop, config: ModelConfig, rows: torch.Tensor, warmup: int):
        self.loop, self.config, self.rows = loop, config, rows
        self.generator = torch.Generator().manual_seed(0)
        for _ in range(warmup):
            self.run_chunk()

    def run_chunk(self) -> float:
        c, rand = self.config, lambda *shape: torch.randn(*shape, generator=self.generator)
        frames = (
            rand(c.image.frames_per_latent, 3, c.image.height, c.image.width).clamp(-1, 1).numpy()
        )
        action, noise, action_noise = (
            rand(c.na, c.token_width),
            rand(c.nv, c.token_width),
            rand(c.na, c.token_width),
        )
        ego = torch.tensor([5.0, 0.0, 0.01])
        begun = time.perf_counter()
        self.loop.chunk(frames, action, self.rows, ego, noise, action_noise)
        return 1e3 * (time.perf_counter() - begun)

    def run_chunks(self, chunks: int) -> list[float]:
        return [self.run_chunk() for _ in range(chunks)]

    def close(self):
        pass


def products(c: ModelConfig, slots: int) -> list[tuple[int, int, int, int, int]]:
    """The matrix products of a chunk's 14 passes, each (count, batch, m, k, n)."""
    passes = [(3, c.nv), (9, c.na), (2, c.nv + c.na)]
    out = []
    for count, n in passes:
        per_layer = [
            (8, 1, n, c.dim, c.dim),  # q, k, v, o of self-attention; q, o of both cross-attentions
            (1, 1, n, c.dim, c.ffn_dim),
            (1, 1, n, c.ffn_dim, c.dim),
            (1, c.heads, n, c.head_dim, slots + n),
            (1, c.heads, n, slots + n, c.head_dim),
            (1, c.heads, n, c.head_dim, c.text_rows),
            (1, c.heads, n, c.text_rows, c.head_dim),
        ]
        out += [(count * c.layers * times, b, m, k, w) for times, b, m, k, w in per_layer]
    return out


def products_ms(c: ModelConfig, slots: int) -> tuple[float, float]:
    """Milliseconds that these products take by themselves (the best of five), and their GFLOP."""
    total, flops = 0.0, 0.0
    for count, batch, m, k, n in products(c, slots):
        a, b = torch.randn(batch, m, k), torch.randn(batch, k, n)
        best = min(_timed(lambda: a @ b, 8) for _ in range(5))
        total += count * best
        flops += 2.0 * count * batch * m * k * n
    return 1e3 * total, flops * 1e-9


def _timed(work, times: int) -> float:
    work()
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times


class SelectionLoop:
    """Selection and overwrite of a full memory, layer by layer, as a Python program writes it. Keys
    and values are rows [n, H*D] in one piece; `select` returns the rows to keep."""

    def __init__(self, config: ModelConfig, memory: dict, numpy: bool):
        self.pools, self.select = [], best_numpy if numpy else best
        generator = np.random.default_rng(0)
        rand = lambda *shape: (
            generator.standard_normal(shape, np.float32)
            if numpy
            else torch.from_numpy(generator.standard_normal(shape, np.float32))
        )
        for slots, new in ((memory["video_slots"], config.nv), (memory["action_slots"], config.na)):
            layers = [
                (rand(slots, config.dim), rand(slots, config.dim)) for _ in range(config.layers)
            ]
            self.pools.append(
                (layers, rand(new, config.dim), rand(new, config.dim), rand(new, config.dim))
            )

    def run_chunk(self) -> float:
        begun = time.perf_counter()
        for layers, k, v, q in self.pools:
            for keys, values in layers:
                kept = self.select(keys, q, 0.07, len(keys) - len(k))
                overwritten = np.ones(len(keys), bool)
                overwritten[np.asarray(kept)] = False
                overwritten = overwritten.nonzero()[0]
                keys[overwritten], values[overwritten] = k, v
        return 1e3 * (time.perf_counter() - begun)

    def run_chunks(self, chunks: int) -> list[float]:
        return [self.run_chunk() for _ in range(chunks)]

    def close(self):
        pass


def selection(name: str, args) -> dict:
    """Compares selection on the host with PyTorch's and NumPy's; all use the same formula in O(L
    d)."""
    config, document = (
        load(Path("configs/model") / f"{name}.yaml"),
        yaml.safe_load((Path("configs") / f"{name}.yaml").read_text()),
    )
    memory, chunks = document["memory"], args.chunks if config.dim > 1000 else 50
    ours = lambda: Ours(
        args.program, Path("configs") / f"{name}.yaml", args.threads, [], flags=("--selection",)
    )
    contenders = {
        "ours": ours(),
        "ours, again": ours(),
        "PyTorch": SelectionLoop(config, memory, False),
        "NumPy": SelectionLoop(config, memory, True),
    }
    took = interleave(contenders, args.rounds, chunks, f"selection at {name}")
    for contender in contenders.values():
        contender.close()
    flops, plain = 0.0, 0.0
    for slots, new in ((memory["video_slots"], config.nv), (memory["action_slots"], config.na)):
        # q.k; norms and sums of the keys; products with the sum
        flops += config.layers * 2.0 * config.dim * slots * (new + 2)
        q, k = torch.randn(new, config.dim), torch.randn(slots, config.dim)
        plain += config.layers * min(_timed(lambda: q @ k.T, 8) for _ in range(5)) * (new + 2) / new
    middle = float(np.median(took["ours"]))
    return {
        "chunk_ms": {who: quantiles(v) for who, v in took.items()},
        "times_ours": {who: quantiles(v / took["ours"]) for who, v in took.items()},
        "gflop": flops * 1e-9,
        "share_of_product_rate": 1e3 * plain / middle,
    }


def interleave(contenders: dict, rounds: int, chunks: int, what: str) -> dict[str, np.ndarray]:
    """Milliseconds per chunk of each contender, the median of each round. Every round has an order
    of its own."""
    took: dict[str, list[float]] = {who: [] for who in contenders}
    order = random.Random(0)
    for turn in range(rounds):
        for who in order.sample(list(contenders), len(contenders)):
            took[who].append(float(np.median(contenders[who].run_chunks(chunks))))
        print(f"{what}: round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return {who: np.array(ms) for who, ms in took.items()}


def quantiles(values) -> dict:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {"median": float(middle), "low": float(low), "high": float(high)}


def compare(name: str, folder: Path, opened: Checkpoint, args) -> dict:
    """Compares all contenders at one size."""
    config, config_path = opened.config, Path("configs") / f"{name}.yaml"
    document = yaml.safe_load(config_path.read_text())
    options = Options.of(document | {"flow": document["flow"] | {"passes": "unpacked"}})
    rows = next(iter(opened.rows.values()))
    torch.set_num_threads(args.threads)
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))
    ours = lambda *sets: Ours(
        args.program, config_path, args.threads, list(sets), {"ORT_DYLIB_PATH": str(library)}
    )
    contenders = {
        "ours, rten": ours("engine.kind=rten"),
        "ours, ort": ours("engine.kind=ort"),
        "ours, ort, again": ours("engine.kind=ort"),
        "published loop, PyTorch eager": Peer(
            Published(opened.model, opened.codec, options, False), config, rows, 7
        ),
        "published loop, torch.compile": Peer(
            Published(opened.model, opened.codec, options, True), config, rows, 7
        ),
        "Python + ONNX Runtime, 17 passes": Peer(
            OnnxLoop(folder, config, options, args.threads), config, rows, 7
        ),
    }
    per_chunk = interleave(contenders, args.rounds, args.chunks, name)
    outside = {}
    for who in ("ours, rten", "ours, ort"):
        last = contenders[who].last
        outside[who] = 1 - sum(
            sum(last["stages_ms"][s]) for s in ("encode", "observe", "context", "video", "action")
        ) / sum(last["chunk_ms"])
    for contender in contenders.values():
        contender.close()
    slots = options.memory.video_slots + options.memory.action_slots + config.nv  # with the tail
    alone, gflop = products_ms(config, slots)
    return {
        "chunk_ms": {who: quantiles(values) for who, values in per_chunk.items()},
        "times_ours_ort": {
            who: quantiles(values / per_chunk["ours, ort"]) for who, values in per_chunk.items()
        },
        "times_ours_rten": {
            who: quantiles(values / per_chunk["ours, rten"]) for who, values in per_chunk.items()
        },
        "outside_engines": outside,
        "passes": {who: contenders[who].last["passes"] for who in outside},
        "engines": {
            who: contenders[who].ready["engines"]["dit"].replace(str(library), library.name)
            for who in outside
        },
        "products": {
            "gflop": gflop,
            "alone_ms": alone,
            "share_of_ours_ort": alone / float(np.median(per_chunk["ours, ort"])),
            "share_of_ours_rten": alone / float(np.median(per_chunk["ours, rten"])),
        },
    }


def machine() -> str:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    return f"{model}, {os.cpu_count()} cores, PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for bench.json and bench.md"
    )
    parser.add_argument("--program", type=Path, default=Path("target/release/drivewam"))
    parser.add_argument("--sizes", default="tiny,middle")
    parser.add_argument("--folders", default="engines/tiny,target/bench/middle")
    parser.add_argument(
        "--selections",
        default="tiny,drivewam-5b",
        help="configurations for the selection benchmark",
    )
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--chunks", type=int, default=4, help="per contender and round")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    folders = dict(zip(args.sizes.split(","), map(Path, args.folders.split(","))))
    # Opens all folders before it measures the first: a wrong folder is reported at once.
    opened = {
        name: open_checkpoint(str(folder), load(Path("configs/model") / f"{name}.yaml"))
        for name, folder in folders.items()
    }
    sizes = {name: compare(name, folder, opened[name], args) for name, folder in folders.items()}
    chosen = {name: selection(name, args) for name in args.selections.split(",")}
    report = {
        "schema": 1,
        "selection": chosen,
        "machine": machine(),
        "rounds": args.rounds,
        "chunks": args.chunks,
        "threads": args.threads,
        "sizes": sizes,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "bench.md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
