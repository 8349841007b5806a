"""The loops that people run today, as peers of the runtime in bench.py.

All have the same sampler, the same memory budget and 17 passes. `Published`: the structure of the
published code in PyTorch. Its memory is a list of keys and values per layer, gathered for every
layer of every pass; the guidance's MLP and its keys and values are computed anew in every pass,
with all padding rows; selection runs layer by layer. `OnnxLoop`: Python and ONNX Runtime with our
exported graphs, hence with merged padding and context once per chunk; memory and selection in
NumPy.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from .codec import Encode
from .config import ModelConfig
from .model import DriveWam
from .model.layers import attend
from .rollout import Context, Options, Rollout, guidance
from .rope import action_positions, rotate, table, video_positions


def best(keys, queries, lam: float, keep: int):
    """Ascending positions of the `keep` best of `keys` [n, d] by lam rho - (1 - lam) eta. O(L d):
    the sum of the unit keys is exact."""
    rho = (queries @ keys.T / keys.shape[1] ** 0.5).softmax(-1).mean(0)
    unit = torch.nn.functional.normalize(keys, dim=-1)
    eta = (unit @ unit.sum(0) - 1) / (len(keys) - 1)
    return (lam * rho - (1 - lam) * eta).topk(keep).indices.sort().values


def best_numpy(keys, queries, lam: float, keep: int):
    """The same in NumPy."""
    scores = queries @ keys.T / math.sqrt(keys.shape[1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    rho = (scores / scores.sum(-1, keepdims=True)).mean(0)
    unit = keys / np.linalg.norm(keys, axis=-1, keepdims=True)
    eta = (unit @ unit.sum(0) - 1) / (len(keys) - 1)
    return np.sort(np.argpartition(-(lam * rho - (1 - lam) * eta), keep)[:keep])


def flat(x):
    """[H, n, D] to [n, H*D]."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


class ListMemory:
    """Keys and values of each pool per layer, as lists that grow and are cut."""

    def __init__(self, config: ModelConfig, options):
        self.config, self.lam = config, options.scoring.get("lam", 0.07)
        self.budget = {"video": options.video_slots, "action": options.action_slots}
        self.pools = {name: [None] * config.layers for name in ("video", "action", "tail")}

    def layer(self, index: int):
        return [pool[index] for pool in self.pools.values() if pool[index] is not None]

    def drop_tail(self):
        self.pools["tail"] = [None] * self.config.layers

    def write_tail(self, outputs):
        self.pools["tail"] = list(outputs)

    def select(self, keys, queries, keep: int):
        return best(flat(keys), flat(queries), self.lam, keep)

    def join(self, parts):
        return torch.cat(parts, 1)

    def commit(self, name: str, outputs):
        pool, budget = self.pools[name], self.budget[name]
        for layer, (k, v, q) in enumerate(outputs):
            if pool[layer] is None:
                pool[layer] = (k, v)
                continue
            old_k, old_v = pool[layer]
            if old_k.shape[1] + k.shape[1] > budget:
                kept = self.select(old_k, q, budget - k.shape[1])
                old_k, old_v = old_k[:, kept], old_v[:, kept]
            pool[layer] = (self.join([old_k, k]), self.join([old_v, v]))


class ArrayMemory(ListMemory):
    """The same in NumPy."""

    def select(self, keys, queries, keep: int):
        return best_numpy(flat(keys), flat(queries), self.lam, keep)

    def join(self, parts):
        return np.concatenate(parts, 1)


def published_pass(model: DriveWam, tokens, is_action, flow_time, rope, scale, text, ego, memory):
    """One pass of one stream. `memory`: per layer, the pieces (k, v) to gather."""
    action = bool(is_action)
    flags = torch.full((len(tokens),), float(action))
    embedder = model.condition_embedder_action if action else model.condition_embedder
    embedding, projection = embedder.time(flow_time)
    text_kv, ego_kv = model.context_text(text), model.context_ego(ego)
    x, outputs = model.embed(tokens, flags), []
    for layer, block in enumerate(model.blocks):

        def attend_self(q, k, v, layer=layer):
            q, k = rotate(q, rope) * scale, rotate(k, rope)
            outputs.append((k, v, q))
            pieces = [*memory[layer], (k, v)]
            return attend(
                q[None],
                torch.cat([p[0] for p in pieces], 1)[None],
                torch.cat([p[1] for p in pieces], 1)[None],
            )[0]

        cross = lambda kv: lambda q: attend(q[None], kv[0][None], kv[1][None])[0]
        x = block(
            x,
            lambda table: (table + projection)[0].unsqueeze(1).unbind(0),
            attend_self,
            cross(text_kv[layer]),
            cross(ego_kv[layer]),
        )
    table = model.scale_shift_table[0]
    return model.head(x, table[0:1] + embedding, table[1:2] + embedding, flags), outputs


class PublishedLoop(Rollout):
    """A rollout whose passes hold one stream each; two of them commit the observed chunk."""

    def _pass(self, chunk: int, reads, video, action, video_time: float, action_time: float):
        self.passes += 1
        if (video is None) == (action is None):
            raise ValueError("the published loop runs one stream in a pass")
        rows, places, time = (
            (video, video_positions, video_time)
            if action is None
            else (action, action_positions, action_time)
        )
        return self._forward(
            reads, rows, action is not None, time, table(self.config, places(self.config, chunk))
        )

    def scale(self, new: int) -> float:
        """Scale of self-attention logits in a pass of `new` tokens."""
        seen = new + sum(k.shape[1] for k, _ in self.memory.layer(0))
        return math.log(seen + 8) / math.log(200) if self.config.self_scale == "log" else 1.0

    def _observe(self, chunk: int, video, action, then, _forced: dict):
        _, seen = self._pass(chunk, then, video, None, 0.0, 0.0)
        self.memory.write_tail([(k, v) for k, v, _ in seen])
        _, did = self._pass(chunk, then, None, action, 0.0, 0.0)
        self.memory.drop_tail()
        self.memory.commit("video", seen)
        self.memory.commit("action", did)


class Published(PublishedLoop):
    """The published loop (see the module). `compiled`: its pass runs under `torch.compile`."""

    def __init__(self, model: DriveWam, codec, options: Options, compiled: bool):
        super().__init__(model, options)
        self.encode, self.memory = Encode(codec), ListMemory(model.config, options.memory)
        self.cache = torch.zeros(1, *codec_cache(codec))
        self.run = published_pass
        if compiled:
            # Compiles once for each shape of the growing memory. Past the default limit it would go
            # on in eager mode silently.
            torch._dynamo.reset()
            (
                torch._dynamo.config.recompile_limit,
                torch._dynamo.config.fail_on_recompile_limit_hit,
            ) = 64, True
            self.run = torch.compile(published_pass, dynamic=False)

    def _context(self, rows, ego):
        padded = torch.zeros(self.config.text.padded_rows, self.config.text.dim)
        padded[: len(rows)] = rows
        return padded, ego

    def _forward(self, reads, tokens, is_action: bool, time: float, rope):
        memory = [self.memory.layer(i) for i in range(self.config.layers)]
        return self.run(
            self.model,
            tokens,
            is_action,
            torch.tensor([time]),
            rope,
            self.scale(len(tokens)),
            *reads,
            memory,
        )

    @torch.no_grad()
    def chunk(self, frames: np.ndarray, action, rows, ego, noise, action_noise):
        """`frames` [F, 3, H, W] f32."""
        latent, self.cache = self.encode(torch.from_numpy(frames), self.cache)
        return self.step(latent, action, rows, ego, noise, action_noise).action


def codec_cache(codec) -> tuple:
    c = codec.config
    frames = torch.zeros(c.image.frames_per_latent, 3, c.image.height, c.image.width)
    with torch.no_grad():
        return codec.encoder.stem(frames[:1])[0].shape


class OnnxLoop(PublishedLoop):
    """The loop on ONNX Runtime (see the module)."""

    def __init__(self, folder: Path, config: ModelConfig, options: Options, threads: int):
        super().__init__(type("Model", (), {"config": config})(), options)
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads
        open_graph = lambda name: onnxruntime.InferenceSession(
            str(folder / f"{name}.onnx"), session, providers=["CPUExecutionProvider"]
        )
        self.graphs = {
            name: open_graph(name) for name in ("vae_encode", "context_text", "context_ego", "dit")
        }
        self.names = {
            name: [o.name for o in graph.get_outputs()] for name, graph in self.graphs.items()
        }
        self.memory, self.cache = ArrayMemory(config, options.memory), None
        self.text = None

    def run_graph(self, graph: str, feeds: dict) -> dict:
        return dict(zip(self.names[graph], self.graphs[graph].run(None, feeds)))

    def _context(self, rows, ego):
        if self.text is None:  # the route command did not change
            text, bias = guidance(self.config, rows)
            self.text = self.run_graph("context_text", {"text": text.numpy()}), bias.numpy()
        return Context(
            self.text[0], self.text[1], self.run_graph("context_ego", {"ego": ego.numpy()})
        )

    def _forward(self, reads, tokens, is_action: bool, time: float, rope):
        c, n = self.config, len(tokens)
        feeds = {
            "tokens": np.asarray(tokens, np.float32),
            "is_action": np.full(n, is_action, np.float32),
            "flow_time": np.full(2, time, np.float32),
        }
        feeds |= {"rope": rope.numpy(), "text_bias": reads.text_bias} | reads.text | reads.ego
        slots = 0
        for layer in range(c.layers):
            pieces = self.memory.layer(layer)
            k = (
                np.concatenate([p[0] for p in pieces], 1)
                if pieces
                else np.zeros((c.heads, 0, c.head_dim), np.float32)
            )
            v = np.concatenate([p[1] for p in pieces], 1) if pieces else k
            feeds[f"mem_k.{layer}"], feeds[f"mem_v.{layer}"], slots = k, v, k.shape[1]
        feeds["mem_bias"] = np.zeros(slots, np.float32)
        if c.self_scale == "log":
            feeds["self_scale"] = np.full(n, self.scale(n), np.float32)
        out = self.run_graph("dit", feeds)
        return torch.from_numpy(out["velocity"]), [
            tuple(out[f"{x}.{layer}"] for x in "kvq") for layer in range(c.layers)
        ]

    def chunk(self, frames: np.ndarray, action, rows, ego, noise, action_noise):
        """`frames` [F, 3, H, W] f32."""
        cache = (
            self.cache
            if self.cache is not None
            else np.zeros([d for d in self.graphs["vae_encode"].get_inputs()[1].shape], np.float32)
        )
        out = self.run_graph("vae_encode", {"frames": frames, "cache_in.0": cache})
        self.cache = out["cache_out.0"]
        return self.step(
            torch.from_numpy(out["latent"]), action, rows, ego, noise, action_noise
        ).action
