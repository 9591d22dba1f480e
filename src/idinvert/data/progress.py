"""How far a long piece of work on images is: one line on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_WIDTH = 24


class Progress:
    """A bar with images a second since this start and the time left.

    Args:
        label: What is being done.
        total: Images to do, those done before included.
        done: Images done before; they do not count in the rate.
        patience: Seconds before the first line; work that ends sooner writes none.
        file: Where to write; stderr where None.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        done: int = 0,
        patience: float = 0.0,
        file: TextIO | None = None,
    ) -> None:
        self.label, self.total, self.first = label, total, done
        self.file = file or sys.stderr
        self.began = self.written = time.monotonic()
        self.every = 0.2 if self.file.isatty() else 15.0
        self.silent_until = self.began + patience

    def update(self, done: int) -> None:
        """Tells that `done` images are done by now."""
        now = time.monotonic()
        if now < self.silent_until or (done < self.total and now - self.written < self.every):
            return
        self.written = now
        line = self.line(done, seconds=now - self.began)
        if self.file.isatty():
            self.file.write(f"\r\x1b[K{line}" + ("\n" if done >= self.total else ""))
        else:
            self.file.write(line + "\n")
        self.file.flush()

    def line(self, done: int, *, seconds: float) -> str:
        """The state in words."""
        share = done / self.total if self.total else 1.0
        bar = "#" * int(share * _WIDTH)
        line = f"{self.label} [{bar:.<{_WIDTH}}] {done:,} of {self.total:,}"
        fresh = done - self.first
        if fresh <= 0 or seconds <= 0.0:
            return line
        left = round((self.total - done) * seconds / fresh)
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        return f"{line}, {fresh / seconds:,.1f} images/s, {clock} left"
