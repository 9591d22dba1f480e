"""Progress of long work on images: a bar on a terminal, plain lines in a file."""

import sys
import time
from typing import Self, TextIO

from rich.console import Console
from rich.text import Text

_WIDTH = 24


class Progress:
    """A progress bar with the rate since this start and the time left; used by all programs.

    Args:
        label: Description of the work.
        total: Number of images, including those done before; None if unknown.
        done: Images done before; they do not count in the rate.
        unit: Name of the counted items.
        patience: Seconds before the first line; work that ends sooner writes none.
        shown: False disables output (ranks other than the first).
        file: Output file; None for stderr.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        *,
        done: float = 0,
        unit: str = "images",
        patience: float = 0.0,
        shown: bool = True,
        file: TextIO | None = None,
    ) -> None:
        self.label, self.total, self.unit, self.note = label, total, unit, ""
        self.first = self.done = done
        self.file = file or sys.stderr
        self.terminal = self.file.isatty()
        self.began = self.written = time.monotonic()
        self.every = 0.2 if self.terminal else 15.0
        self.silent_until = self.began + patience if shown else float("inf")
        self._height = 0  # lines that the bar takes on the terminal
        self._told, self._ended = done, False

    def update(self, done: float, *, note: str = "") -> None:
        """Reports the progress of the work.

        Args:
            done: Images done so far; may be fractional.
            note: Text shown beside it, such as the losses.
        """
        self.done, self.note, now = done, note, time.monotonic()
        if self._ended or now < self.silent_until:
            return
        self._ended = self.total is not None and done >= self.total
        if self._ended or now - self.written >= self.every:
            self._write(now)

    def close(self) -> None:
        """Leaves the last state on the screen if the work stopped before its end."""
        begun = self._height > 0 or self._told != self.done
        if not self._ended and begun and time.monotonic() >= self.silent_until:
            self._ended = True
            self._write(time.monotonic())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, now: float) -> None:
        self.written, self._told, seconds = now, self.done, now - self.began
        if self.terminal:
            up = f"\x1b[{self._height - 1}A" if self._height > 1 else ""
            drawn = self._drawn(seconds)
            self._height = drawn.count("\n") + 1
            self.file.write(f"{up}\r\x1b[J{drawn}" + ("\n" if self._ended else ""))
        else:
            note = f"; {self.note}" if self.note else ""
            self.file.write(f"{self.line(self.done, seconds=seconds)}{note}\n")
        self.file.flush()

    def _drawn(self, seconds: float) -> str:
        """Returns the bar in the terminal's colours, no wider than it, with the note below."""
        console = Console(file=self.file, highlight=False)
        pace = self._pace(self.done, seconds=seconds)
        counted = f"{self.done:,.0f}/{self.total:,}" if self.total else f"{self.done:,.0f}"
        words = f"{counted}{pace}" if self.total else f"{counted} {self.unit}{pace}"
        text = Text(self.label, "bold")
        text.truncate(max(8, console.width - len(words) - 2), overflow="ellipsis")
        width = min(_WIDTH, console.width - len(text) - len(words) - 3)
        text = Text().append(text).append(" ")
        if self.total and width > 3:
            full, empty = ("#", ".") if console.options.ascii_only else ("━", "─")
            filled = round(width * min(1.0, self.done / self.total))
            text.append(full * filled, "green").append(empty * (width - filled) + " ", "dim")
        text.append(words).truncate(console.width - 1, overflow="ellipsis")
        if self.note:
            text.append(f"\n  {self.note}", "cyan")
        with console.capture() as drawn:
            console.print(text, end="")
        return drawn.get()

    def line(self, done: float, *, seconds: float) -> str:
        """Returns the state as a line of text, as written to a file."""
        said = f"{self.label} {done:,.0f} {self.unit}"
        if self.total is not None:
            filled = int(done / self.total * _WIDTH) if self.total else _WIDTH
            said = f"{self.label} [{'#' * filled:.<{_WIDTH}}] {done:,.0f} of {self.total:,}"
        return said + self._pace(done, seconds=seconds)

    def _pace(self, done: float, *, seconds: float) -> str:
        """Returns the rate and the time left; empty before a rate is known."""
        fresh = done - self.first
        if fresh <= 0 or seconds <= 0.0:
            return ""
        rate = f", {fresh / seconds:,.1f} {self.unit}/s"
        if self.total is None:
            return rate
        left = round(max(0.0, self.total - done) * seconds / fresh)
        return f"{rate}, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
