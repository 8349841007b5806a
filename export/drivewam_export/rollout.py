"""The reference ride: chunk by chunk with external memory, in the order of the runtime.

At T_c: commit the observed chunk c-1 (video and action rows of one pass at flow time 0, with
guidance and ego state of chunk c-1; chunk 0 uses chunk 1's) -> select -> video steps -> keys and
values of the predicted video into the tail -> action steps. The tail is dropped before the next
observed commit. Predicted actions are never kept. The goldens come from here; the runtime's sampler
is its counterpart.

`passes: packed` makes 14 passes of the paper's 3 + 10 steps: the predicted video's commit shares a
pass with the first action step, both observed commits share a pass. `passes: unpacked` is the
published loop of 17 passes, with a commit of the predicted action that nothing reads; it has 16
where `video_commit: last_step` needs no pass of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from .bias import MASKED
from .config import ModelConfig
from .memory import Memory, MemoryOptions, Placement
from .model import DriveWam
from .packed import patchify, self_scale
from .rope import action_positions, table, video_positions
from .schedule import action_steps, video_steps

CHOICES = {
    "passes": ("packed", "unpacked"),
    "video_commit": ("end_time", "zero_time", "last_step"),
    "action_start": ("noise", "zero"),
}


@dataclass(frozen=True)
class Options:
    """The `flow:` and `memory:` sections of a configuration. The solver is Euler."""

    memory: MemoryOptions = field(default_factory=MemoryOptions)
    passes: str = "packed"
    video_commit: str = "end_time"
    action_start: str = "noise"
    video_steps: int = 3
    video_shift: float = 5.0
    video_end: dict = field(default_factory=lambda: {"tau": 0.6})
    action_steps: int = 10
    action_shift: float = 1.0

    def __post_init__(self):
        for key, known in CHOICES.items():
            if getattr(self, key) not in known:
                raise ValueError(
                    f"{key}: got {getattr(self, key)!r}, wanted one of {', '.join(known)}"
                )

    @classmethod
    def of(cls, document: dict) -> "Options":
        """Reads the `flow:` and `memory:` sections of a configuration file."""
        flow, memory = document["flow"], dict(document["memory"])
        if flow["solver"] != "euler":
            raise ValueError(f"flow.solver: got {flow['solver']!r}, wanted euler")
        scoring = dict(memory.pop("scoring", {}))
        if scoring.pop("keys", "post_rope") != "post_rope":
            raise ValueError("memory.scoring.keys: wanted post_rope")
        # in f32, as the runtime holds it
        scoring["lam"] = torch.tensor(scoring.pop("lambda", 0.07)).item()
        return cls(
            MemoryOptions(scoring=scoring, **memory),
            flow.get("passes", "packed"),
            flow.get("video_commit", "end_time"),
            flow["action"].get("start", "noise"),
            flow["video"]["steps"],
            flow["video"]["shift"],
            flow["video"]["end"],
            flow["action"]["steps"],
            flow["action"]["shift"],
        )


@dataclass
class Context:
    """What every pass of a chunk reads: per-layer (k, v) of the guidance and of the ego state, and
    the bias [T] of the guidance rows."""

    text: list
    text_bias: torch.Tensor
    ego: list


def guidance(config: ModelConfig, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Text rows [R, Dt] as the graph takes them: [T, Dt], and their bias [T]. The last row is the
    merged padding; its bias is the logarithm of its count."""
    count = rows.shape[0]
    text = torch.zeros(config.text_rows, config.text.dim)
    text[:count] = rows
    bias = torch.full((config.text_rows,), MASKED)
    bias[:count] = 0.0
    if config.text.padded_rows > count:
        bias[-1] = math.log(config.text.padded_rows - count)
    return text, bias


def context(model: DriveWam, rows: torch.Tensor, ego: torch.Tensor) -> Context:
    text, bias = guidance(model.config, rows)
    return Context(model.context_text(text), bias, model.context_ego(ego))


@dataclass
class Commit:
    """The observed commit of a chunk: per-layer (k, v, q) [H, Nv + Na, D], video rows first;
    velocity [Nv + Na, W]; the placement of the rows in each pool."""

    outputs: list
    velocity: torch.Tensor
    video: Placement
    action: Placement


@dataclass
class Chunk:
    """The results of one step. `observed` belongs to the chunk before `index`, the rest to chunk
    `index`."""

    index: int
    observed: Commit
    video_velocity: list  # [Nv, W] of each video step
    video: torch.Tensor  # [Nv, W] where the video's denoising ends
    predicted: list  # per-layer (k, v) [H, Nv, D] in the tail
    action_velocity: list  # [Na, W] of each action step
    action: torch.Tensor  # [Na, W] normalised tokens
    passes: int


class Rollout:
    """One rollout. Call `step` once per chunk, from chunk 1 on."""

    def __init__(self, model: DriveWam, options: Options):
        self.model, self.config, self.options = model, model.config, options
        self.memory = Memory(self.config, options.memory)
        self.next = 1
        self.before: Context | None = None  # of the chunk to be observed next
        self.video_steps = video_steps(options.video_steps, options.video_shift, options.video_end)
        self.action_steps = action_steps(options.action_steps, options.action_shift)
        self.passes = 0

    @torch.no_grad()
    def step(self, latent, action, rows, ego, noise, action_noise=None, forced=None) -> Chunk:
        """Commits the observed chunk and predicts the next.

        `latent` [Cz, Hz, Wz] and `action` [Na, W] (normalised) of the chunk that has passed; `rows`
        [R, Dt] guidance and `ego` [features] of the chunk to come; `noise` [Nv, W]; `action_noise`
        [Na, W] under `action_start: noise`; `forced`: destinations by pool, [L, Hs, n].
        """
        index, self.passes = self.next, 0
        now = self._context(rows, ego)
        self.memory.drop_tail()
        observed = self._observe(
            index - 1, patchify(self.config, latent), action, self.before or now, forced or {}
        )
        self.before, self.next = now, index + 1
        video, video_velocity, predicted = noise.clone(), [], None
        for tau, after in self.video_steps:
            velocity, outputs = self._pass(index, now, video, None, tau, 0.0)
            video_velocity.append(velocity)
            if self.options.video_commit == "last_step":
                predicted = [(k, v) for k, v, _ in outputs]
            self._euler(video, velocity, tau, after, range(self.config.video_channels))
        commit_time = {"end_time": self.video_steps[-1][1], "zero_time": 0.0, "last_step": None}[
            self.options.video_commit
        ]
        if commit_time is not None and self.options.passes == "unpacked":
            _, outputs = self._pass(index, now, video, None, commit_time, 0.0)
            predicted = [(k, v) for k, v, _ in outputs]
        if predicted is not None:
            self.memory.write_tail(predicted)
        sample = torch.zeros(self.config.na, self.config.token_width)
        if self.options.action_start == "noise":
            sample[:, : self.config.action.channels] = action_noise[
                :, : self.config.action.channels
            ]
        action_velocity = []
        for tau, after in self.action_steps:
            if predicted is None:  # the commit shares the pass of the first action step
                velocity, outputs = self._pass(index, now, video, sample, commit_time, tau)
                velocity = velocity[self.config.nv :]
                predicted = [
                    (k[:, : self.config.nv], v[:, : self.config.nv]) for k, v, _ in outputs
                ]
                self.memory.write_tail(predicted)
            else:
                velocity, _ = self._pass(index, now, None, sample, 0.0, tau)
            action_velocity.append(velocity)
            self._euler(sample, velocity, tau, after, self.config.action.used_channels)
        if self.options.passes == "unpacked":
            # The published loop commits the predicted action; the observed one replaces it unread.
            self._pass(index, now, None, sample, 0.0, 0.0)
        return Chunk(
            index, observed, video_velocity, video, predicted, action_velocity, sample, self.passes
        )

    def _context(self, rows, ego) -> Context:
        return context(self.model, rows, ego)

    def _observe(self, chunk: int, video, action, then: Context, forced: dict) -> Commit:
        nv = self.config.nv
        if self.options.passes == "packed":
            velocity, outputs = self._pass(chunk, then, video, action, 0.0, 0.0)
        else:
            first, seen = self._pass(chunk, then, video, None, 0.0, 0.0)
            self.memory.write_tail([(k, v) for k, v, _ in seen])
            second, did = self._pass(chunk, then, None, action, 0.0, 0.0)
            self.memory.drop_tail()
            velocity = torch.cat([first, second])
            outputs = [tuple(torch.cat(pair, 1) for pair in zip(*both)) for both in zip(seen, did)]
        part = lambda rows: [tuple(x[:, rows] for x in layer) for layer in outputs]
        chosen = [
            self.memory.commit(name, chunk, part(rows), forced.get(name))
            for name, rows in (("video", slice(nv)), ("action", slice(nv, None)))
        ]
        return Commit(outputs, velocity, *chosen)

    def _pass(
        self, chunk: int, reads: Context, video, action, video_time: float, action_time: float
    ):
        """Runs the `dit` graph on video rows, action rows or both. Returns velocity and per-layer
        (k, v, q)."""
        self.passes += 1
        c = self.config
        parts = [
            (rows, flag, where(c, chunk))
            for rows, flag, where in (
                (video, 0.0, video_positions),
                (action, 1.0, action_positions),
            )
            if rows is not None
        ]
        tokens = torch.cat([rows for rows, _, _ in parts])
        is_action = torch.cat([torch.full((len(rows),), flag) for rows, flag, _ in parts])
        rope = table(c, torch.cat([places for _, _, places in parts]))
        scale = None
        if c.self_scale == "log":
            filled = int(self.memory.valid.sum())
            seen_by_video = int((is_action == 0).sum())
            scale = self_scale(filled + torch.where(is_action > 0, len(tokens), seen_by_video))
        return self.model.dit(
            tokens,
            is_action,
            torch.tensor([video_time, action_time]),
            rope,
            self.memory.bias(),
            reads.text_bias,
            scale,
            self.memory.layers(),
            reads.text,
            reads.ego,
        )

    def _euler(self, x, velocity, tau: float, after: float, channels) -> None:
        """x <- x + (tau' - tau) v in place, on the used channels."""
        channels = list(channels)
        x[:, channels] += (after - tau) * velocity[:, channels]
