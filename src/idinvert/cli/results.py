"""Where the tasks of one evaluation left their results, for whoever shows them elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from idinvert.results.record import Record

Left = tuple[Record | None, Path]
"""A record, where there is one, and the folder of its files."""

_LEFT: ContextVar[list[Left] | None] = ContextVar("left", default=None)


@contextmanager
def gathered() -> Iterator[list[Left]]:
    """Gathers what `leave` is told meanwhile; of two within each other, the inner one does."""
    left: list[Left] = []
    token = _LEFT.set(left)
    try:
        yield left
    finally:
        _LEFT.reset(token)


def leave(folder: Path, record: Record | None = None) -> None:
    """Says that results lie in a folder; where nobody gathers, nothing happens."""
    left = _LEFT.get()
    if left is not None:
        left.append((record, folder))
