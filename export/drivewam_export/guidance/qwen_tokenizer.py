"""Builds Qwen's `tokenizer.json` from its rank file.

`python -m drivewam_export.guidance.qwen_tokenizer RANKS.tiktoken --out tokenizer.json`

The rank file has one token a line, in base64, and its rank; which pairs merge follows from the
ranks. `tokenizer.json` needs the pairs: the pair of a token consists of the two parts that remain
when it is merged by lower ranks only.
"""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ..folder import ExportError

# How Qwen2 and later split a text before merging, from their published tokenizer.json.
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Qwen3's special tokens; their ids follow the ranks in this order.
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Also whole tokens, but part of the text.
WHOLE = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Token to rank. Raises ExportError for a file of another format or whose ranks are not 0, 1,
    2, ..."""
    ranks = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise ExportError(
                f"{path}: line {number}: wanted a token in base64 and its rank ({error})"
            ) from error
    if sorted(ranks.values()) != list(range(len(ranks))) or any(
        bytes([byte]) not in ranks for byte in range(256)
    ):
        raise ExportError(
            f"{path}: {len(ranks)} tokens; wanted ranks from 0 on without gaps, and every byte"
        )
    return ranks


def parts(token: bytes, ranks: dict[bytes, int], below: int) -> list[bytes]:
    """`token` merged from its bytes by ranks under `below`: the pair of the lowest rank first, the
    leftmost of equal ones."""
    pieces = [token[i : i + 1] for i in range(len(token))]
    while len(pieces) > 1:
        rank, at = min(
            (ranks.get(pieces[i] + pieces[i + 1], below), i) for i in range(len(pieces) - 1)
        )
        if rank >= below:
            break
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


def byte_characters() -> dict[int, str]:
    """The character for each byte in a `tokenizer.json`: printable Latin-1 as itself, the others
    from U+0100 on (GPT-2)."""
    kept = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    moved = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + i) for i, byte in enumerate(moved)}


def build(
    ranks: dict[bytes, int], special: tuple[str, ...] = SPECIAL, whole: tuple[str, ...] = WHOLE
) -> Tokenizer:
    """The tokenizer of `ranks`. The ids of `special`, then of `whole`, follow the ranks."""
    character = byte_characters()
    written = {token: "".join(character[byte] for byte in token) for token in ranks}
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        pair = parts(token, ranks, rank)
        if len(pair) != 2:
            raise ExportError(
                f"token {token!r} of rank {rank} is not merged from two lower ones: {pair}"
            )
        merges.append((written[pair[0]], written[pair[1]]))
    tokenizer = Tokenizer(
        models.BPE(vocab={written[token]: rank for token, rank in ranks.items()}, merges=merges)
    )
    tokenizer.normalizer = normalizers.NFC()
    cut = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in special]
    )
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in whole])
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ranks", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        tokenizer = build(read_ranks(args.ranks))
    except ExportError as error:
        sys.exit(f"qwen_tokenizer: {error}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.out), pretty=False)


if __name__ == "__main__":
    main()
