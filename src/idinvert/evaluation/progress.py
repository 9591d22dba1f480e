"""One line that tells how far an evaluation is: bar, images a second, time left."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress


class Progress:
    """A bar on a terminal, a plain line now and then where the output is a file.

    Args:
        total: images to do, those done before included.
        label: what is being done.
        done: images done before; they do not count in the rate.
        every: seconds between two lines where there is no terminal.
        shown: False keeps silent (ranks other than the first).
        console: where to write; stderr where None.
    """

    def __init__(
        self,
        total: int,
        *,
        label: str,
        done: int = 0,
        every: float = 30.0,
        shown: bool = True,
        console: Console | None = None,
    ) -> None:
        self.total, self.label, self.first, self.every = total, label, done, every
        self.completed = float(done)
        self.shown = shown
        self.console = console or Console(file=sys.stderr)
        self.begin = self.spoken = time.monotonic()
        self._bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        if self.shown and self.console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}"),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self.label, total=self.total, completed=self.first, pace=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.shown:
            self.console.print(self.line(), highlight=False)

    def update(self, completed: float) -> None:
        """Tell how many images are done by now; parts of an image count."""
        self.completed = completed
        if self._bar is not None:
            self._bar.update(self._task, completed=int(completed), pace=self.pace())
        elif self.shown and time.monotonic() - self.spoken >= self.every:
            self.spoken = time.monotonic()
            self.console.print(self.line(), highlight=False)

    def line(self) -> str:
        """The state in words, for example "in_domain 128/500 · 3.2 images/s · 1:56 left"."""
        return f"{self.label} {int(self.completed)}/{self.total} · {self.pace()}"

    def pace(self) -> str:
        """Images a second since the start, and the time left at that rate."""
        elapsed = time.monotonic() - self.begin
        fresh = self.completed - self.first
        if fresh <= 0 or elapsed <= 0:
            return "– images/s"
        rate = fresh / elapsed
        left = round((self.total - self.completed) / rate)
        clock = (
            f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
            if left >= 3600
            else (f"{left // 60}:{left % 60:02}")
        )
        return f"{rate:.3g} images/s · {clock} left"
