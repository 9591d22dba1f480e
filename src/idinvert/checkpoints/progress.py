"""One line that tells how far a long piece of work on weights is: a download, an average."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """A bar on a terminal, a plain line now and then where the output is a file.

    Args:
        label: What is being done.
        total: How much there is to do, in any unit; None where nobody knows.
        done: How much of it was there before.
        every: Seconds between two lines where there is no terminal.
        console: Where to write; stderr where None.
    """

    def __init__(
        self,
        label: str,
        *,
        total: int | None,
        done: int = 0,
        every: float = 10.0,
        console: Console | None = None,
    ) -> None:
        self.label, self.total, self.done, self.every = label, total, done, every
        self.console = console or Console(file=sys.stderr)
        self.spoken = time.monotonic()
        self._bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: int) -> None:
        """Tells that so much more is done."""
        self.done += amount
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif time.monotonic() - self.spoken >= self.every:
            self.spoken = time.monotonic()
            self.console.print(self.line(), highlight=False)

    def line(self) -> str:
        """The state in words, for example "ffhq.pkl: 41%"."""
        if not self.total:
            return f"{self.label}: {self.done:,}"
        return f"{self.label}: {100 * self.done // self.total}%"
