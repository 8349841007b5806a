"""The vocabulary: a byte-level BPE learned from captions, so that any text can be written; and the prompt."""

from __future__ import annotations

import re

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from ..data import COMMANDS

PAD, END_OF_TEXT, MASK = "<pad>", "</s>", "<mask>"
START, END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIAL = [PAD, END_OF_TEXT, MASK, START, END, VISION_START, VISION_END, IMAGE, VIDEO]
# As a configuration has it (`guidance.template`), and the words of a command as the runtime says them (`runtime/guidance/src/prompt_template.rs`).
TEMPLATE = f"{START}user {{camera}}{{plot}} command: {{command}}{END}{START}assistant "
WORDS = {"left": "turn left", "straight": "go straight", "right": "turn right", "unknown": "no route is known"}
LIMIT = 1000
LONGEST = 64  # tokens of an answer


def learn(captions: list[str]) -> Tokenizer:
    """A tokenizer of at most LIMIT entries: all bytes, and what `captions` and the prompt are made of."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LIMIT, min_frequency=2, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )
    prompts = [piece for word in WORDS.values() for piece in (word, "user ", " command: ", "assistant ")] * 2
    tokenizer.train_from_iterator(sorted(set(captions)) * 2 + prompts, trainer)
    return tokenizer


def ending(tokenizer: Tokenizer) -> Tokenizer:
    """The same vocabulary for the text encoder: every text ends with END_OF_TEXT."""
    out = Tokenizer.from_str(tokenizer.to_str())
    out.post_processor = processors.TemplateProcessing(single=f"$A {END_OF_TEXT}", special_tokens=[(END_OF_TEXT, out.token_to_id(END_OF_TEXT))])
    return out


def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    """The prompt's ids under each of COMMANDS, with one placeholder per picture. Pieces between the places are encoded one by one, as the runtime does."""
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    picture = [tokenizer.token_to_id(token) for token in (VISION_START, IMAGE, VISION_END)]
    pieces = [piece for piece in re.split(r"(\{\w+\})", TEMPLATE) if piece]
    filled = {word: {"{camera}": picture, "{plot}": picture, "{command}": encode(WORDS[word])} for word in COMMANDS}
    return [[token for piece in pieces for token in (filled[word].get(piece) or encode(piece))] for word in COMMANDS]
