"""Progress of a long operation, on stderr. A short one prints nothing."""

from __future__ import annotations

import sys
import time

EVERY_S = 5.0


class Progress:
    """`what`, for example "dit.safetensors: writing", of `count` items of a `kind`, and of `total`
    bytes where they are known."""

    def __init__(self, what: str, kind: str, count: int, total: int = 0):
        self.what, self.kind, self.count, self.total = what, kind, count, total
        self.done, self.bytes, self.began = 0, 0, time.monotonic()
        self.printed = self.began

    def step(self, size: int = 0) -> None:
        """Counts one more item, which had `size` bytes."""
        self.done, self.bytes, now = self.done + 1, self.bytes + size, time.monotonic()
        if now - self.printed < EVERY_S:
            return
        self.printed = now
        size = f", {self.bytes / 1e9:.1f} of {self.total / 1e9:.1f} GB" if self.total else ""
        print(
            f"{self.what} {self.kind} {self.done} of {self.count}{size}, {now - self.began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
