"""How far a long piece of work on images is: one line on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_WIDTH = 24


class Progress:
    """A bar with the pace since this start and the time left.

    Args:
        label: What is being done.
        total: Images to do, those done before included; None where nobody knows.
        done: Images done before; they do not count in the rate.
        unit: What is counted, where it is not images.
        patience: Seconds before the first line; work that ends sooner writes none.
        file: Where to write; stderr where None.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        *,
        done: int = 0,
        unit: str = "images",
        patience: float = 0.0,
        file: TextIO | None = None,
    ) -> None:
        self.label, self.total, self.first, self.unit = label, total, done, unit
        self.file = file or sys.stderr
        self.began = self.written = time.monotonic()
        self.every = 0.2 if self.file.isatty() else 15.0
        self.silent_until = self.began + patience

    def update(self, done: int) -> None:
        """Tells that `done` images are done by now."""
        now = time.monotonic()
        ended = self.total is not None and done >= self.total
        if now < self.silent_until or (not ended and now - self.written < self.every):
            return
        self.written = now
        line = self.line(done, seconds=now - self.began)
        if self.file.isatty():
            self.file.write(f"\r\x1b[K{line}" + ("\n" if ended else ""))
        else:
            self.file.write(line + "\n")
        self.file.flush()

    def line(self, done: int, *, seconds: float) -> str:
        """The state in words."""
        line = f"{self.label} {done:,} {self.unit}"
        if self.total is not None:
            filled = int(done / self.total * _WIDTH) if self.total else _WIDTH
            line = f"{self.label} [{'#' * filled:.<{_WIDTH}}] {done:,} of {self.total:,}"
        fresh = done - self.first
        if fresh <= 0 or seconds <= 0.0:
            return line
        line += f", {fresh / seconds:,.1f} {self.unit}/s"
        if self.total is None:
            return line
        left = round((self.total - done) * seconds / fresh)
        return f"{line}, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
