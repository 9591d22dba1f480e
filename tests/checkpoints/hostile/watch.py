"""Watches, through Python's audit events, for anything that a file could make this process do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from idinvert.checkpoints.formats.read import COMMAND
from idinvert.data.source import WALK

_EVENTS = (
    "exec", "compile", "import", "pickle.find_class", "marshal.", "code.__new__", "os.", "pty.",
    "subprocess.", "shutil.", "socket.", "ctypes.", "webbrowser.", "tempfile.", "function.__new__",
    "object.__setattr__", "sys.setprofile", "builtins.input", "urllib.", "glob.",
)  # fmt: skip
_READ_ONLY = ("os.scandir", "os.listdir")  # linecache and the like, for a warning's text

_watches: list[list[str]] = []
_installed: list[bool] = []


@contextmanager
def watched() -> Iterator[list[str]]:
    """The events that happened inside, in words; an audit hook cannot be removed, only emptied."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    seen: list[str] = []
    _watches.append(seen)
    try:
        yield seen
    finally:
        _watches.remove(seen)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watches:
        return
    if event == "open":
        mode = arguments[1] if len(arguments) > 1 else None
        if not (isinstance(mode, str) and set(mode) & set("wax+")):
            return
    elif not event.startswith(_EVENTS) or event in _READ_ONLY or _is_the_reader(event, arguments):
        return
    _watches[-1].append(f"{event}{str(arguments)[:200]}")


def _is_the_reader(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether this process started a child that reads, by its fixed command."""
    if event != "subprocess.Popen":
        return False
    return any(tuple(arguments[1][: len(each)]) == each for each in (COMMAND, WALK))
