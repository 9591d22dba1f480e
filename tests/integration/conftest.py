"""Faults at each write of a program, and what is no file in place of each file."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from idinvert import durable
from idinvert.cli.exit_handling import ends_in_words

LINES = ("metrics.jsonl", "records.jsonl")
"""Files that get a line at a time."""


@pytest.fixture
def at_each_write(monkeypatch):
    """Calls something with the path before each file appears under its name or gets a line."""

    @contextlib.contextmanager
    def arrange(outputs, seen):
        replace, fsync = os.replace, os.fsync

        def replacing(source, target):
            if Path(target).is_relative_to(outputs):
                seen(Path(target))
            replace(source, target)

        def flushing(descriptor):
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.name in LINES and path.is_relative_to(outputs):
                seen(path)
            fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replacing)
            patch.setattr(os, "fsync", flushing)
            yield

    return arrange


@pytest.fixture
def ends_well(capfd):
    """Does a program's work within seconds, and returns its one line of error, or nothing."""

    def late(*_):
        raise AssertionError("it hangs")

    def watched(program, work):
        durable.sweep.cache_clear()
        capfd.readouterr()
        before = signal.signal(signal.SIGALRM, late)
        signal.alarm(20)
        try:
            with ends_in_words(program):
                work()
            return ""
        except SystemExit as ended:
            assert ended.code == 2
            lines = [x for x in capfd.readouterr().err.splitlines() if x.startswith("error: ")]
            assert len(lines) == 1
            return lines[0]
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    return watched
