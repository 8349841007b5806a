"""The small text encoder. Linear readers recover every fact of a caption, and masked words."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from transformers import UMT5Config, UMT5EncoderModel

from .facts import FACTS, classes
from .vocabulary import END_OF_TEXT, MASK, PAD

MASKED_SHARE = 0.15


def make(tokenizer: Tokenizer, width: int) -> UMT5EncoderModel:
    """Random weights. `width`: of a row, the policy's text width."""
    config = UMT5Config(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=width,
        d_kv=width // 4,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=32,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.token_to_id(PAD),
        eos_token_id=tokenizer.token_to_id(END_OF_TEXT),
    )
    return UMT5EncoderModel(config)


def crossed(captions: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` texts: the first sentence of one caption and the second of another, so that neither
    sentence tells the other's facts."""
    parts = [text.split(". ") for text in captions]
    first, second = rng.integers(len(parts), size=(2, count))
    return [f"{parts[a][0]}. {parts[b][1]}" for a, b in zip(first, second)]


def encoded(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """[n, longest] ids, padded."""
    ids = [torch.tensor(tokenizer.encode(text).ids) for text in texts]
    return nn.utils.rnn.pad_sequence(ids, True, tokenizer.token_to_id(PAD))


class FactReader(nn.Module):
    """Linear readers of every fact on the mean row of a text."""

    def __init__(self, encoder: UMT5EncoderModel):
        super().__init__()
        self.encoder, self.pad = encoder, encoder.config.pad_token_id
        self.heads = nn.ModuleList(
            nn.Linear(encoder.config.d_model, len(values)) for values in FACTS.values()
        )

    def rows(self, ids):
        return self.encoder(
            input_ids=ids, attention_mask=(ids != self.pad).long()
        ).last_hidden_state

    def forward(self, ids):
        """Logits of each fact, from `ids` [B, T]."""
        real = (ids != self.pad).float()[..., None]
        mean = (self.rows(ids) * real).sum(1) / real.sum(1)
        return [head(mean) for head in self.heads]

    def denoising_loss(self, ids, mask: int, generator):
        """Cross-entropy of the tokens that MASK hides."""
        hidden = (torch.rand(ids.shape, generator=generator) < MASKED_SHARE) & (ids != self.pad)
        rows = self.rows(ids.masked_fill(hidden, mask))[hidden]
        logits = rows @ self.encoder.shared.weight.T / math.sqrt(rows.shape[-1])
        return F.cross_entropy(logits, ids[hidden])


@torch.no_grad()
def accuracy(reader: FactReader, tokenizer: Tokenizer, texts: list[str]) -> dict[str, float]:
    """Share of `texts` whose fact is read correctly, per fact, and for all facts together."""
    wanted = torch.tensor([classes(text) for text in texts])
    right = (
        torch.stack([logits.argmax(-1) for logits in reader(encoded(tokenizer, texts))], 1)
        == wanted
    )
    return dict(zip(FACTS, right.float().mean(0).tolist())) | {
        "all": right.all(1).float().mean().item()
    }


def train(
    tokenizer: Tokenizer, captions: list[str], width: int, seconds: float, seed: int, stopped
) -> FactReader:
    """Trains an encoder on distinct `captions`. `tokenizer` appends the end token. Stops early when
    `stopped()`."""
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    reader = FactReader(make(tokenizer, width))
    optimiser = torch.optim.AdamW(reader.parameters(), 3e-3, weight_decay=0.01)
    begun, step, mask = time.time(), 0, tokenizer.token_to_id(MASK)
    while (share := (time.time() - begun) / seconds) < 1 and not stopped():
        optimiser.param_groups[0]["lr"] = (
            3e-3 * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        )
        texts = crossed(captions, 64, rng)
        ids, wanted = encoded(tokenizer, texts), torch.tensor([classes(text) for text in texts])
        read = sum(
            F.cross_entropy(logits, wanted[:, i]) for i, logits in enumerate(reader(ids))
        ) / len(FACTS)
        denoised = reader.denoising_loss(ids, mask, generator)
        optimiser.zero_grad()
        (read + 0.25 * denoised).backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 200 == 0:
            print(
                f"text step {step} {time.time() - begun:.0f} s facts {read.item():.4f} masked words {denoised.item():.3f}",
                flush=True,
            )
    return reader.eval()
