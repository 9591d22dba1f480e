"""Errors for users; each says what was got, what was expected and which key to change."""

import difflib
import errno
import math
import re
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from idinvert.untrusted import IrregularError

LONGEST = 4_000
"""Maximum characters of an error's message."""
FEW_LINES = 240
"""Maximum characters of a list of names in it."""
PLACES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EFBIG, errno.ENAMETOOLONG, errno.ESTALE),
)
"""Error numbers of the system for a path that cannot be read or written."""


class IdinvertError(Exception):
    """Base of all errors that the user can correct; printed without a traceback.

    The text contains no control characters, whatever file it quotes, and has a bounded length.
    """

    def __str__(self) -> str:
        return readable(as_typed(super().__str__()))


class ConfigError(IdinvertError):
    """The configuration is invalid."""


class DataError(IdinvertError):
    """Images, folders, splits or records are unusable."""


class CorruptImageError(DataError):
    """One image file cannot be decoded; the message names it."""


class CheckpointError(IdinvertError):
    """A checkpoint or weights file cannot be read, or does not fit."""


class MissingWeightsError(CheckpointError):
    """Weights are not on this machine; the message names file, URL, sha256 and key."""


class DivergenceError(IdinvertError):
    """Values became non-finite, or training ended with an error above the mean image's."""


class OutputError(IdinvertError, OSError):
    """A file cannot be written: the disk is full, or the folder is not writable."""


class RunLockedError(IdinvertError):
    """Another process is writing to the same run folder.

    Args:
        message: The message for the user.
        folder: The folder that is in use.
    """

    def __init__(self, message: str, *, folder: Path | None = None) -> None:
        super().__init__(message)
        self.folder = folder


def require_number(
    key: str, value: Any, *, low: float, high: float = math.inf, whole: bool = False
) -> None:
    """Refuses a value that is not a number in a range.

    Args:
        key: Its key in the configuration.
        value: The value.
        low: The smallest allowed value.
        high: The largest allowed value.
        whole: Whether it must be an integer.

    Raises:
        ConfigError: The value is not such a number.
    """
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        span = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        word = "a whole number" if whole else "a number"
        raise ConfigError(f"got {key}={value!r}, expected {word}, {span}; change {key}")


def as_typed(text: str) -> str:
    """Adapts the commands in a text to the installation: a wheel has no ``train.py``.

    Args:
        text: A text with commands as in a checkout (``python train.py …``).
    """
    if not (Path(__file__).parent / "conf").is_dir():
        return text
    return re.sub(r"python (train|evaluate)\.py", r"idinvert-\1", text)


def nearest(name: str, known: list[str]) -> str:
    """A sentence with the valid name nearest to a typo, or with all valid names."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    text = ", ".join(listed := sorted(set(known)))
    if len(text) > FEW_LINES:
        text = f"{text[:FEW_LINES].rpartition(', ')[0]} … ({len(listed)} in all)"
    return f"Known here: {text}."


def readable(text: str) -> str:
    """Escapes the control characters of a text and shortens it to about `LONGEST` characters."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 4 :]}"
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in text
    )


class Note(UserWarning):
    """A warning about something left out or done differently, printed without a code location."""


def show_notes_plainly() -> None:
    """Prints each `Note` once, as a single line; other warnings are not changed."""
    warnings.simplefilter("always", Note)  # "once" is reset whenever a library sets a filter
    usual, told = warnings.formatwarning, set[str]()

    def formatted(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if issubclass(category, Note):
            note = f"note: {message}\n"
            known = note in told
            told.add(note)
            return "" if known else note
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = formatted


def exit_status(work: Callable[[], int | None]) -> int:
    """Runs a program's work; prints errors that the user can correct without a traceback.

    Returns:
        The exit status: the work's own or 0, 2 for an error, 130 for Ctrl-C.
    """
    show_notes_plainly()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    try:
        return work() or 0
    except IdinvertError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader, such as head, has stopped
            sys.stderr.close()
            return 0
        if isinstance(error, MemoryError):
            told = "out of memory; fewer --workers need less"
        elif isinstance(error, IrregularError | IsADirectoryError):
            told = f"{error}. Move it away"
        elif error.errno in PLACES:
            told = f"{error}. Free some space, or give a folder that can be written"
        else:
            raise
        print(f"error: {told}; give the same command again to continue", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; give the same command again to continue", file=sys.stderr)
        return 130


def command_line(parser: Callable[[], ArgumentParser], words: Sequence[str] | None = None) -> int:
    """Parses a command line and runs the ``work`` that the parser selects.

    Args:
        parser: Creates the parser.
        words: The command line; None for that of the process.

    Returns:
        The exit status, see `exit_status`.
    """
    given = parser().parse_args(words)
    return exit_status(lambda: given.work(given))
