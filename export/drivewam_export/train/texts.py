"""The texts of a training step: a learned embedding per route command, or a generated text.

A frozen text encoder embeds the generated texts.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..config import ModelConfig
from ..guidance.join import guidance_record
from ..model import DriveWam
from ..packed import Layout
from .data import COMMANDS, Drive
from .guidance.shipped import load_text_encoder

COMMAND_ROWS = 4
UNKNOWN = COMMANDS.index("unknown")
# Shares of the windows with generated texts that get the command instead, and no text; and the
# share of the others whose text is one chunk old, as in a ride that does not wait.
COMMAND_SHARE, NOTHING_SHARE, LATE_SHARE = 0.25, 0.15, 0.3


class Texts(nn.Module):
    """Texts by number: COMMANDS, then those of `generated`, each [n, Dt]. A text is its rows and
    one zero row for all of its padding."""

    def __init__(self, config: ModelConfig, generated: list[torch.Tensor] = ()):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(len(COMMANDS), COMMAND_ROWS, config.text.dim))
        count = torch.tensor([COMMAND_ROWS] * len(COMMANDS) + [len(rows) for rows in generated])
        longest = int(count.max())
        self.register_buffer(
            "generated",
            torch.stack(
                [nn.functional.pad(rows, (0, 0, 0, longest - len(rows))) for rows in generated]
            )
            if generated
            else None,
            persistent=False,
        )
        # The bias of each key: absent rows are masked; the zero row after the longest text counts
        # as all padding rows of the text.
        bias = torch.zeros(len(count), longest + 1).masked_fill(
            torch.arange(longest + 1) >= count[:, None], -math.inf
        )
        bias[:, -1] = torch.log((config.text.padded_rows - count).float())
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, which):
        """Rows [n, R + 1, Dt] and their bias [n, R + 1] of the texts `which` [n], None for all."""
        rows = self.rows
        if self.generated is not None:
            rows = torch.cat(
                [
                    nn.functional.pad(rows, (0, 0, 0, self.generated.shape[1] - COMMAND_ROWS)),
                    self.generated,
                ]
            )
        rows = nn.functional.pad(rows, (0, 0, 0, 1))
        return (rows, self.bias) if which is None else (rows[which], self.bias[which])


def context(model: DriveWam, texts: Texts, layout: Layout, text_ids, ego):
    """Per-layer text and ego keys and values of every chunk, and the text bias. `text_ids` [B, K]
    numbers of texts, `ego` [B, K, features]."""
    # Of a few commands all are embedded, of many generated texts only those of the batch.
    which, text_ids = (
        (None, text_ids) if texts.generated is None else text_ids.unique(return_inverse=True)
    )
    rows, bias = texts(which)
    join = lambda x: x[text_ids].transpose(1, 2).flatten(2, 3)  # [texts, H, R, D] -> [B, H, K*R, D]
    text = [(join(k), join(v)) for k, v in model.context_text(rows)]
    bias = layout.context_bias(rows.shape[1]) + bias[text_ids].flatten(1)[:, None, None]
    flat = lambda x: x.transpose(1, 2).flatten(2, 3)  # [B, K, H, E, D] -> [B, H, K*E, D]
    return text, bias, [(flat(k), flat(v)) for k, v in model.context_ego(ego)]


def read_generated(drives: list[Drive]) -> tuple[list[np.ndarray], list[str]]:
    """Reads the files of train.guidance.generate: per drive the numbers (of Texts) of its frames'
    texts; and the texts, each once."""
    known: dict[str, int] = {}
    numbers = []
    for drive in drives:
        lines = [
            json.loads(line) for line in (drive.path / "generated.jsonl").read_text().splitlines()
        ]
        if len(lines) != len(drive.frames):
            raise ValueError(
                f"{drive.path}: generated.jsonl has {len(lines)} lines; wanted one per frame, {len(drive.frames)}"
            )
        numbers.append(
            np.array([known.setdefault(line, len(COMMANDS) + len(known)) for line in lines])
        )
    return numbers, list(known)


def config_with_text_rows(config: ModelConfig, folder: Path) -> ModelConfig:
    """`config` with as many text rows as the text encoder of an exported folder returns."""
    rows, _ = guidance_record(folder)["graphs"]["text_encode"]["outputs"][0]["shape"]
    return dataclasses.replace(
        config, text=dataclasses.replace(config.text, max_rows=rows, padded_rows=rows)
    )


@torch.no_grad()
def encode(folder: Path, texts: list[str], width: int, most: int) -> list[torch.Tensor]:
    """Embeds each text by the small text encoder of an exported folder: rows [n, width]. Raises
    ValueError for a text of `most` rows or more."""
    encoder, tokenizer = load_text_encoder(folder, width)
    out = []
    for line in texts:
        ids = tokenizer.encode(line).ids
        if len(ids) >= most:
            raise ValueError(f"{line!r} has {len(ids)} rows; wanted fewer than {most}")
        out.append(encoder(torch.tensor([ids])).last_hidden_state[0])
    return out


def sample_texts(rng: np.random.Generator, command, generated, before):
    """Numbers [B, K] of the texts of each window: generated ones, of now or of one chunk ago; the
    command; or no text. All tensors are [B, K]."""
    draw, late = (torch.from_numpy(rng.random((2, len(command), 1)))).to(command.device).unbind()
    chosen = torch.where(late < LATE_SHARE, before, generated)
    chosen = torch.where(draw < COMMAND_SHARE + NOTHING_SHARE, command, chosen)
    return torch.where(draw < NOTHING_SHARE, UNKNOWN, chosen)
