"""Trains the small guidance on captioned drives.

`python -m drivewam_export.train.guidance --data DIR --held DIR --out DIR --minutes M`

First the text encoder, for `--text-minutes`; then the VLM. For a share of the time only linear
readers over the front image train its vision tower, on three times as many images as full answers
would allow. Then the loss is the answer's cross-entropy plus that of the readers. Rare facts are
drawn more often. At the end greedy answers to `--held`, drives of seeds that were not trained on,
are scored fact by fact.

The folder is written atomically: `vlm` and `text`, checkpoints for `guidance.export`, and
`guidance.json`, the scores. Ctrl-C ends a run with a complete folder once the VLM's training has
begun.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from ...folder import atomic_folder
from . import text, vocabulary
from .facts import SEEN, score, summary
from .scenes import Scenes, shares
from .vlm import BatchedVlm, Readers, load_overlapping, make
from .vocabulary import MAX_NEW_TOKENS

MOST_OFTEN = 6.0  # a scene of rare facts is drawn at most this many times as often as another
HIDDEN_SHARE = 0.1  # of the batches; they have no route


class Trainer:
    def __init__(self, args, scenes: Scenes, held: Scenes, tokenizer: Tokenizer):
        self.args, self.scenes, self.held, self.tokenizer = args, scenes, held, tokenizer
        torch.manual_seed(args.seed)
        self.rng, self.stop, self.device = (
            np.random.default_rng(args.seed),
            False,
            torch.device(args.device),
        )
        model = make(tokenizer)
        if args.start:
            load_overlapping(model, tokenizer, args.start / "vlm")
        front = scenes.frames[0].shape[1:3]
        self.vlm = BatchedVlm(model, tokenizer, [front, front])
        vision = model.config.vision_config
        rows = front[0] * front[1] // (vision.patch_size * vision.spatial_merge_size) ** 2
        self.modules = nn.ModuleDict(
            {"vlm": self.vlm, "readers": Readers(rows, vision.out_hidden_size)}
        ).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.modules.parameters(), lr=args.rate, betas=(0.9, 0.95), weight_decay=0.02
        )
        self.average = {
            name: value.detach().clone() for name, value in self.modules.named_parameters()
        }
        self.chances = shares(scenes.classes((*SEEN, "command")), MOST_OFTEN)
        self.seen_facts = torch.from_numpy(scenes.classes(SEEN))
        self.ids = {
            caption: tokenizer.encode(caption).ids
            for caption in {c for pair in scenes.captions for c in pair}
        }
        if (longest := max(map(len, self.ids.values()))) >= MAX_NEW_TOKENS:
            raise SystemExit(f"a caption has {longest} tokens, wanted fewer than {MAX_NEW_TOKENS}")
        self.step, self.drawn, self.spent = 0, 0, 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(self, "stop", True))

    def answers(self, captions: list[str]):
        """Input tokens [B, A] and target tokens [B, A + 1], -100 after the end."""
        end = self.vlm.end
        ids = [self.ids[caption] for caption in captions]
        width = max(map(len, ids))
        fed = torch.tensor([row + [end] * (width - len(row)) for row in ids])
        wanted = torch.tensor([row + [end] + [-100] * (width - len(row)) for row in ids])
        return fed.to(self.device), wanted.to(self.device)

    def loss(self, eyes: bool):
        """Returns (total, answers' part, readers' part) of one batch; with `eyes` only the
        readers'."""
        rows = self.rng.choice(len(self.scenes), self.args.batch, p=self.chances)
        wanted = self.seen_facts[rows].to(self.device)
        front, plots = self.scenes.pictures(rows)
        put = lambda array: torch.from_numpy(array).to(self.device)
        if eyes:
            read = self.modules["readers"].loss(self.vlm.encode_image(put(front))[0], wanted)
            return read, torch.zeros(()), read
        command, captions = self.scenes.captions_for(rows, self.rng.random() < HIDDEN_SHARE)
        fed, next_words = self.answers(captions)
        logits, seen = self.vlm(put(command), [put(front), put(plots)], fed)
        answer = F.cross_entropy(logits.flatten(0, 1), next_words.flatten())
        read = self.modules["readers"].loss(seen[0][0], wanted)
        return answer + self.args.reader_weight * read, answer, read

    def train(self):
        a, seconds = self.args, self.args.minutes * 60
        begun = shown = time.time()
        logged, drawn, since = [], 0, 0
        while self.spent < seconds and not self.stop:
            eyes = self.spent < a.eyes * seconds
            since = 0 if eyes else since + 1  # the answers have a warm-up of their own
            warm = min(1.0, (self.step + 1) / a.warmup, 1.0 if eyes else since / a.warmup)
            self.optimiser.param_groups[0]["lr"] = (
                a.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.spent / seconds)))
            )
            loss, answer, read = self.loss(eyes)
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
            self.optimiser.step()
            self.step, self.drawn, drawn = self.step + 1, self.drawn + a.batch, drawn + a.batch
            with torch.no_grad():
                keep = min(a.ema, (1 + self.step) / (10 + self.step))
                for name, value in self.modules.named_parameters():
                    self.average[name].lerp_(value, 1 - keep)
            logged.append((answer.item(), read.item()))
            if self.step % 100 == 0:
                answer, read = np.mean(logged, 0)
                now = time.time()
                print(
                    f"vlm step {self.step} {self.spent:.0f} s {'eyes ' if eyes else ''}answer "
                    f"{answer:.4f} readers {read:.4f} {drawn / (now - shown):.1f} scenes/s",
                    flush=True,
                )
                shown, logged, drawn = now, [], 0
            self.spent = time.time() - begun
        self.modules.load_state_dict(self.modules.state_dict() | self.average)

    @torch.no_grad()
    def judge(self, count: int) -> dict:
        """Scores greedy answers to at most `count` held-out scenes, evenly spread."""
        self.modules.eval()
        rows = np.unique(np.linspace(0, len(self.held) - 1, count).astype(int))
        answers, wanted = [], []
        for part in np.array_split(rows, -(-len(rows) // 128)):
            put = lambda array: torch.from_numpy(array).to(self.device)
            command, captions = self.held.captions_for(part, False)
            ids = self.vlm.generate(
                put(command), [put(p) for p in self.held.pictures(part)], MAX_NEW_TOKENS
            ).tolist()
            answers += [
                self.tokenizer.decode(row[: (row + [self.vlm.end]).index(self.vlm.end)])
                for row in ids
            ]
            wanted += captions
        for answer, caption in [(a, w) for a, w in zip(answers, wanted) if a != w][:6]:
            print(f"  wanted {caption}\n  got    {answer}", flush=True)
        return score(answers, wanted)

    def record(self) -> dict:
        options = {
            k: v for k, v in vars(self.args).items() if k not in ("data", "held", "out", "start")
        }
        counted = {
            "steps": self.step,
            "scenes_drawn": self.drawn,
            "seconds": round(self.spent),
            "scenes": len(self.scenes),
            "options": options,
        }
        return counted | {
            "parameters": sum(p.numel() for p in self.vlm.model.parameters()),
            "vocabulary": self.tokenizer.get_vocab_size(),
        }


def trained_text(args, scenes: Scenes, held: Scenes, tokenizer: Tokenizer, stopped):
    """Trains the text encoder. Returns it, its tokenizer, and its record: parameters, and how well
    facts are read from held-out captions and from crossed ones."""
    ending, known = (
        vocabulary.with_end_token(tokenizer),
        sorted({c for pair in scenes.captions for c in pair}),
    )
    reader = text.train(ending, known, args.width, args.text_minutes * 60, args.seed, stopped)
    fresh = sorted({c for pair in held.captions for c in pair})
    result = {
        "parameters": sum(p.numel() for p in reader.encoder.parameters()),
        "captions": len(known),
    }
    result["held"] = {
        "captions": len(fresh),
        "unseen": len(set(fresh) - set(known)),
        "read": text.accuracy(reader, ending, fresh),
    }
    crossed = text.crossed(fresh, 1000, np.random.default_rng(args.seed + 1))
    result["crossed"] = text.accuracy(reader, ending, crossed)
    print(f"text: {result}", flush=True)
    return reader.encoder, ending, result


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of input folders with captions"
    )
    parser.add_argument(
        "--held",
        type=Path,
        required=True,
        help="held-out drives of other seeds, to score the answers",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="an earlier --out; training starts from its VLM")
    parser.add_argument("--minutes", type=float, default=20, help="training time of the VLM")
    parser.add_argument("--text-minutes", type=float, default=2)
    parser.add_argument(
        "--width", type=int, default=64, help="width of a text row: the policy's text.dim"
    )
    parser.add_argument(
        "--eyes",
        type=float,
        default=0.35,
        help="share of the time in which only the readers train the vision tower",
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--ema", type=float, default=0.99)
    parser.add_argument("--reader-weight", type=float, default=0.3)
    parser.add_argument(
        "--judge", type=int, default=4096, help="number of held-out scenes to score"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="device of the VLM: cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = options().parse_args()
    torch.set_num_threads(args.threads)
    scenes, held = Scenes.open(args.data), Scenes.open(args.held)
    captions = [c for pair in scenes.captions for c in pair]
    tokenizer = vocabulary.learn(captions)
    print(
        f"{len(scenes)} scenes of {len(scenes.frames)} drives, "
        f"{len(set(captions))} different captions, vocabulary {tokenizer.get_vocab_size()}",
        flush=True,
    )
    trainer = Trainer(args, scenes, held, tokenizer)
    encoder, ending, read = trained_text(args, scenes, held, tokenizer, lambda: trainer.stop)
    trainer.train()
    if trainer.step == 0:
        raise SystemExit("stopped before the first step; nothing was written")
    judged = trainer.judge(args.judge)
    print(summary(judged), flush=True)
    with atomic_folder(args.out) as aside:
        trainer.vlm.model.cpu().save_pretrained(aside / "vlm")
        encoder.save_pretrained(aside / "text")
        tokenizer.save(str(aside / "vlm/tokenizer.json"))
        ending.save(str(aside / "text/tokenizer.json"))
        (aside / "guidance.json").write_text(
            json.dumps({"vlm": trainer.record() | {"held": judged}, "text": read}, indent=1) + "\n"
        )
    print("guidance done", flush=True)


if __name__ == "__main__":
    main()
