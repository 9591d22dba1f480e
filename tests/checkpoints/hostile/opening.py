"""Opens hostile files through every door, and says what came of it."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from idinvert.checkpoints.checkpoint import open_as_it_is
from idinvert.checkpoints.formats import read
from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError

from .watch import watched

KEY = "generator.path"
LARGE = 200_000


class Outcome(NamedTuple):
    """What opening some files led to.

    Attributes:
        opened: Files that were read, by door.
        refused: Files that ended in a `CheckpointError`, by door.
        wrong: Other exceptions, in words.
        events: What the files made the process do.
        slowest: The longest time one door took, in seconds of this process, and for which file.
        messages: What the container reader said, by file; empty where it read the file.
    """

    opened: Counter[str]
    refused: Counter[str]
    wrong: list[str]
    events: list[str]
    slowest: tuple[float, str]
    messages: dict[str, str]


def open_all(files: Iterable[tuple[str, bytes]], *, place: Path, large: int = LARGE) -> Outcome:
    """Writes every file to ``place`` and opens it as an archive and as a checkpoint.

    Args:
        files: Name and content.
        place: Where to; the same file each time.
        large: Files of more bytes are opened as archives alone, which the other door starts with.
    """
    outcome = Outcome(Counter(), Counter(), [], [], (0.0, ""), {})
    slowest = outcome.slowest
    for name, content in files:
        place.write_bytes(content)
        reading = _Once()
        doors: dict[str, Callable[[], object]] = {
            "archive": partial(reading, place, key=KEY),
            "checkpoint": partial(open_as_it_is, place, key=KEY),
        }
        for door, enter in doors.items():
            if door == "checkpoint" and len(content) > large:
                continue
            with mock.patch.object(read, "read_archive", reading):
                ending, events, seconds = _enter(enter)
                if events:  # what a library imports on first use is gone the second time
                    ending, events, seconds = _enter(enter)
            slowest = max(slowest, (seconds, f"{name}, {door}"))
            outcome.events.extend(f"{name}, {door}: {event}" for event in events)
            if ending is None:
                outcome.opened[door] += 1
            elif isinstance(ending, CheckpointError):
                outcome.refused[door] += 1
            else:
                outcome.wrong.append(f"{name}, {door}: {type(ending).__name__}: {ending}")
            message = "" if ending is None else str(ending)
            if door == "archive":
                outcome.messages[name] = message
    return outcome._replace(slowest=slowest)


class _Once:
    """`read_archive`, which reads a file for both doors at once: a child each would take long."""

    def __init__(self) -> None:
        self.ending: CheckpointError | None = None
        self.archive: Archive | None = None

    def __call__(self, path: Path, *, key: str) -> Archive:
        """What it gave the first time, or raised."""
        if self.archive is None and self.ending is None:
            try:
                self.archive = read_archive(path, key=key)
            except CheckpointError as error:
                self.ending = error.with_traceback(None)
        if self.archive is None:
            assert self.ending is not None
            raise self.ending
        return self.archive


def _enter(enter: Callable[[], object]) -> tuple[Exception | None, list[str], float]:
    """How a door was left, what happened meanwhile, and how long this process worked on it."""
    ending: Exception | None = None
    begun = time.process_time()
    with watched() as events:
        try:
            enter()
        except Exception as error:
            ending = error.with_traceback(None)
    return ending, events, time.process_time() - begun
