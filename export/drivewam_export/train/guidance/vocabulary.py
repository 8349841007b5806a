"""The vocabulary, a byte-level BPE learned from captions, and the prompt."""

from __future__ import annotations

import re

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from ..data import COMMANDS

PAD, END_OF_TEXT, MASK = "<pad>", "</s>", "<mask>"
START, END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END, IMAGE, VIDEO = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
SPECIAL = [PAD, END_OF_TEXT, MASK, START, END, VISION_START, VISION_END, IMAGE, VIDEO]
# The prompt template, as a configuration has it, and the text of each command, as the runtime
# writes it.
PROMPT_TEMPLATE = f"{START}user {{camera}}{{plot}} command: {{command}}{END}{START}assistant "
COMMAND_TEXT = {
    "left": "turn left",
    "straight": "go straight",
    "right": "turn right",
    "unknown": "no route is known",
}
MAX_VOCABULARY = 1000
MAX_NEW_TOKENS = 64  # tokens of an answer


def learn(captions: list[str]) -> Tokenizer:
    """A tokenizer of at most MAX_VOCABULARY entries: all bytes, and the tokens of `captions` and
    the prompt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        min_frequency=2,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    prompts = [
        piece
        for word in COMMAND_TEXT.values()
        for piece in (word, "user ", " command: ", "assistant ")
    ] * 2
    tokenizer.train_from_iterator(sorted(set(captions)) * 2 + prompts, trainer)
    return tokenizer


def with_end_token(tokenizer: Tokenizer) -> Tokenizer:
    """The same vocabulary for the text encoder: every text ends with END_OF_TEXT."""
    out = Tokenizer.from_str(tokenizer.to_str())
    out.post_processor = processors.TemplateProcessing(
        single=f"$A {END_OF_TEXT}", special_tokens=[(END_OF_TEXT, out.token_to_id(END_OF_TEXT))]
    )
    return out


def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    """The prompt's ids under each of COMMANDS, with one placeholder per image. The pieces between
    the placeholders are encoded one by one, as the runtime does."""
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    picture = [tokenizer.token_to_id(token) for token in (VISION_START, IMAGE, VISION_END)]
    pieces = [piece for piece in re.split(r"(\{\w+\})", PROMPT_TEMPLATE) if piece]
    filled = {
        word: {"{camera}": picture, "{plot}": picture, "{command}": encode(COMMAND_TEXT[word])}
        for word in COMMANDS
    }
    return [
        [token for piece in pieces for token in (filled[word].get(piece) or encode(piece))]
        for word in COMMANDS
    ]
