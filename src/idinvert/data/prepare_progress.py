"""How far the preparation is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_WIDTH = 24


class Progress:
    """Bar, images a second since this start, time left.

    Args:
        total: Images to do, those done before included.
        done: Images done before; they do not count in the rate.
        label: What is being done.
        file: Where to write.
    """

    def __init__(
        self, total: int, *, done: int = 0, label: str = "preparing", file: TextIO | None = None
    ) -> None:
        self.total, self.first, self.label = total, done, label
        self.file = file or sys.stderr
        self.began = self.spoken = time.monotonic()
        self.every = 0.2 if self.file.isatty() else 15.0

    def update(self, done: int) -> None:
        """Tells that `done` images are done by now."""
        now = time.monotonic()
        if done < self.total and now - self.spoken < self.every:
            return
        self.spoken = now
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
