"""How far something long has come, on stderr; something short says nothing."""

from __future__ import annotations

import sys
import time

EVERY_S = 5.0


class Progress:
    """`what`: "dit.safetensors: writing"; `total`: bytes of all `count` tensors."""

    def __init__(self, what: str, count: int, total: int):
        self.what, self.count, self.total = what, count, total
        self.done, self.bytes, self.began = 0, 0, time.monotonic()
        self.said = self.began

    def step(self, size: int) -> None:
        self.done, self.bytes, now = self.done + 1, self.bytes + size, time.monotonic()
        if now - self.said < EVERY_S:
            return
        self.said = now
        print(f"{self.what} tensor {self.done} of {self.count}, {self.bytes / 1e9:.1f} of {self.total / 1e9:.1f} GB, {now - self.began:.0f} s", file=sys.stderr, flush=True)
