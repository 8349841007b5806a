"""The small VLM over batches of prompts of equal length.

It uses the modules of `Qwen3VLForConditionalGeneration`, with one attention call per layer instead
of one per image. A test compares it with the class's own `forward`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from ...guidance.decoder import rotate_halves
from ...guidance.generate import expand, positions
from ...guidance.vision import grid, position_tables
from .facts import FACTS, SEEN
from .vocabulary import END, IMAGE, PAD, VIDEO, VISION_END, VISION_START, prompts


def make(tokenizer: Tokenizer) -> Qwen3VLForConditionalGeneration:
    """Random weights; patches of 8 pixels, merged 2 x 2."""
    text = dict(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.05,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1000.0,
            "mrope_section": [6, 5, 5],
            "mrope_interleaved": True,
        },
    )
    visual = dict(
        depth=4,
        hidden_size=96,
        intermediate_size=288,
        num_heads=4,
        patch_size=8,
        temporal_patch_size=2,
        spatial_merge_size=2,
        out_hidden_size=128,
        num_position_embeddings=196,
        deepstack_visual_indexes=[1],
        initializer_range=0.05,
    )
    token = tokenizer.token_to_id
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=visual,
        image_token_id=token(IMAGE),
        video_token_id=token(VIDEO),
        vision_start_token_id=token(VISION_START),
        vision_end_token_id=token(VISION_END),
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = (
        token(END),
        token(PAD),
    )
    return model


def load_overlapping(
    model: Qwen3VLForConditionalGeneration, tokenizer: Tokenizer, folder: Path
) -> None:
    """Loads the checkpoint in `folder` into `model`; of its embedding, the rows of the tokens that
    both vocabularies have."""
    old, known = (
        Qwen3VLForConditionalGeneration.from_pretrained(folder),
        Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(),
    )
    state, name = old.state_dict(), "model.language_model.embed_tokens.weight"
    rows = model.state_dict()[name].clone()
    for token, index in tokenizer.get_vocab().items():
        if token in known:
            rows[index] = state[name][known[token]]
    model.load_state_dict(state | {name: rows, "lm_head.weight": rows})


class BatchedVlm(nn.Module):
    """`sizes`: (height, width) in pixels of the prompt's images."""

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        tokenizer: Tokenizer,
        sizes: list[tuple[int, int]],
    ):
        super().__init__()
        self.model, self.sizes = model, sizes
        config = model.config
        step = config.vision_config.patch_size * config.vision_config.spatial_merge_size
        grids = [(height // step, width // step) for height, width in sizes]
        self.prompt_ids, self.prompt_positions = [], {}
        for ids in prompts(tokenizer):
            position_ids, next_position = positions(ids, config.image_token_id, grids)
            self.prompt_ids.append(
                torch.tensor(
                    expand(ids, config.image_token_id, [rows * columns for rows, columns in grids])
                )
            )
            # Position ids [3, N].
            self.prompt_positions[len(position_ids)] = (
                torch.from_numpy(position_ids.T.copy()),
                next_position,
            )
        self.end = tokenizer.token_to_id(END)

    def encode_image(self, pictures):
        """Images [B, H, W, 3] u8 to rows [B, n, D], followed by one such tensor per deepstack
        level."""
        tower = self.model.model.visual
        c = tower.config
        batch, height, width, _ = pictures.shape
        patch, merge = c.patch_size, c.spatial_merge_size
        x = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
        x = x.reshape(
            batch,
            3,
            height // (patch * merge),
            merge,
            patch,
            width // (patch * merge),
            merge,
            patch,
        )
        x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)[..., None, :, :].expand(
            *[-1] * 6, c.temporal_patch_size, -1, -1
        )
        embed = tower.patch_embed.proj
        positions, rope = position_tables(tower, *grid(c, height, width))
        x = (
            F.linear(
                x.reshape(batch, height * width // patch**2, -1),
                embed.weight.flatten(1),
                embed.bias,
            )
            + positions
        )
        deepstack = []
        for index, block in enumerate(tower.blocks):
            attention = block.attn
            heads, size = attention.num_heads, attention.head_dim
            q, k, v = (
                attention.qkv(block.norm1(x))
                .reshape(batch, -1, 3, heads, size)
                .permute(2, 0, 3, 1, 4)
                .unbind(0)
            )
            rows = F.scaled_dot_product_attention(
                rotate_halves(q, rope, size), rotate_halves(k, rope, size), v
            )
            x = x + attention.proj(rows.transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
            if index in c.deepstack_visual_indexes:
                deepstack.append(
                    tower.deepstack_merger_list[c.deepstack_visual_indexes.index(index)](x).reshape(
                        batch, -1, c.out_hidden_size
                    )
                )
        return [tower.merger(x).reshape(batch, -1, c.out_hidden_size), *deepstack]

    def decode(self, x, position_ids, deepstack, memory: list | None = None):
        """`x` [B, N, D] at `position_ids` [3, N]; `deepstack`: [B, N, D] per level. `memory`: keys
        and values per layer, read and filled; it supports one pass over a prompt and then single
        rows. Returns [B, N, D] after the last norm."""
        language = self.model.model.language_model
        cos, sin = language.rotary_emb(x, position_ids[:, None])
        size = language.config.head_dim
        rope = torch.stack([cos[0, :, : size // 2], sin[0, :, : size // 2]], -1)
        heads = lambda rows, norm: norm(rows.reshape(*rows.shape[:2], -1, size)).transpose(1, 2)
        for index, layer in enumerate(language.layers):
            a, rows = layer.self_attn, layer.input_layernorm(x)
            q, k, v = (
                heads(a.q_proj(rows), a.q_norm),
                heads(a.k_proj(rows), a.k_norm),
                heads(a.v_proj(rows), lambda v: v),
            )
            q, k = rotate_halves(q, rope, size), rotate_halves(k, rope, size)
            if memory is not None:
                if len(memory) > index:
                    k, v = (torch.cat([old, new], 2) for old, new in zip(memory[index], (k, v)))
                    memory[index] = k, v
                else:
                    memory.append((k, v))
            k, v = (kept.repeat_interleave(a.num_key_value_groups, 1) for kept in (k, v))
            rows = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
            x = x + a.o_proj(rows.transpose(1, 2).flatten(2))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            if index < len(deepstack):
                x = x + deepstack[index]
        return language.norm(x)

    def prompt(self, command, seen):
        """`command` [B] index into COMMANDS, of prompts of equal length; `seen`: the result of
        `encode_image` for each image. Returns the prompt's rows and deepstack levels, [B, N, D],
        its positions [3, N] and the next position."""
        joined = [torch.cat(level, 1) for level in zip(*seen, strict=True)]
        prompt_ids = torch.stack([self.prompt_ids[i] for i in command.tolist()]).to(
            joined[0].device
        )
        position_ids, next_position = self.prompt_positions[prompt_ids.shape[1]]
        rows = self.model.model.language_model.embed_tokens(prompt_ids)
        where = (prompt_ids[0] == self.model.config.image_token_id).nonzero()[:, 0]
        fill = lambda base, value: base.index_copy(1, where, value)
        return (
            fill(rows, joined[0]),
            [fill(torch.zeros_like(rows), level) for level in joined[1:]],
            position_ids.to(rows.device),
            next_position,
        )

    def forward(self, command, pictures, answer):
        """`answer` [B, A]: tokens after the prompt. Returns logits [B, A + 1, V] for the token
        after the prompt and after each of them, and the encoded images."""
        seen = [self.encode_image(p) for p in pictures]
        x, deepstack, position_ids, next_position = self.prompt(command, seen)
        count, width = x.shape[1], answer.shape[1]
        x = torch.cat([x, self.model.model.language_model.embed_tokens(answer)], 1)
        deepstack = [F.pad(level, (0, 0, 0, width)) for level in deepstack]
        after = next_position + torch.arange(width, device=x.device).expand(3, -1)
        x = self.decode(x, torch.cat([position_ids, after], 1), deepstack)
        return self.model.lm_head(x[:, count - 1 :]), seen

    @torch.no_grad()
    def generate(self, command, pictures, max_new_tokens: int):
        """Greedy answers [B, up to `max_new_tokens`]; after its end a row repeats the end token."""
        x, deepstack, position_ids, next_position = self.prompt(
            command, [self.encode_image(p) for p in pictures]
        )
        memory, out = [], []
        ended = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for index in range(max_new_tokens):
            token = self.model.lm_head(
                self.decode(x, position_ids, deepstack, memory)[:, -1]
            ).argmax(-1)
            token = token.masked_fill(ended, self.end)
            ended |= token == self.end
            out.append(token)
            if ended.all():
                break
            x, deepstack = self.model.model.language_model.embed_tokens(token)[:, None], []
            position_ids = torch.full((3, 1), next_position + index, device=x.device)
        return torch.stack(out, 1)


class Readers(nn.Module):
    """One linear reader per fact of SEEN over the rows of the front image, to train the vision
    tower. Discarded after training."""

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(rows * width, len(FACTS[fact])) for fact in SEEN)

    def loss(self, seen, wanted):
        """Mean cross-entropy. `seen` [B, n, D]; `wanted` [B, facts]."""
        rows = seen.flatten(1)
        return sum(
            F.cross_entropy(head(rows), wanted[:, i]) for i, head in enumerate(self.heads)
        ) / len(self.heads)
