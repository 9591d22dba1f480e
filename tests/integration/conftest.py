"""Faults at each write of a program."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LINES = ("metrics.jsonl", "records.jsonl")
"""Files that get a line at a time."""


@pytest.fixture
def at_each_write(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls something with the path before each file appears under its name or gets a line."""

    @contextlib.contextmanager
    def arrange(outputs: Path, seen: Callable[[Path], None]) -> Iterator[None]:
        replace, fsync = os.replace, os.fsync

        def replacing(source: Any, target: Any) -> None:
            if Path(target).is_relative_to(outputs):
                seen(Path(target))
            replace(source, target)

        def flushing(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.name in LINES and path.is_relative_to(outputs):
                seen(path)
            fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replacing)
            patch.setattr(os, "fsync", flushing)
            yield

    return arrange
