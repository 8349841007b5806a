"""The vocabulary: a byte-level BPE learned from captions, so that any text can be written; and the prompt."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from ..data import COMMANDS

PAD, END_OF_TEXT, MASK = "<pad>", "</s>", "<mask>"
START, END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIAL = [PAD, END_OF_TEXT, MASK, START, END, VISION_START, VISION_END, IMAGE, VIDEO]
PICTURE = VISION_START + IMAGE + VISION_END
# The front picture, the plot, the command.
PROMPT = f"{START}user {PICTURE}{PICTURE} command: {{command}}{END}{START}assistant "
LIMIT = 1000


def learn(captions: list[str]) -> Tokenizer:
    """A tokenizer of at most LIMIT entries: all bytes, and what `captions` and the prompt are made of."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LIMIT, min_frequency=2, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )
    prompts = [f"user command: {word} assistant " for word in COMMANDS] * 2
    tokenizer.train_from_iterator(sorted(set(captions)) * 2 + prompts, trainer)
    return tokenizer


def ending(tokenizer: Tokenizer) -> Tokenizer:
    """The same vocabulary for the text encoder: every text ends with END_OF_TEXT."""
    out = Tokenizer.from_str(tokenizer.to_str())
    out.post_processor = processors.TemplateProcessing(single=f"$A {END_OF_TEXT}", special_tokens=[(END_OF_TEXT, out.token_to_id(END_OF_TEXT))])
    return out


def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    """The prompt's ids under each of COMMANDS, with one placeholder per picture; all of one length, as a batch needs them."""
    out = [tokenizer.encode(PROMPT.format(command=word)).ids for word in COMMANDS]
    if len({len(ids) for ids in out}) != 1:
        raise ValueError(f"prompts of {[len(ids) for ids in out]} tokens, wanted one length")
    return out
