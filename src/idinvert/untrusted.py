"""Reads untrusted files: only regular files are opened, and sizes and values are bounded.

Errors are ``ValueError`` or ``OSError``; callers convert them to messages with the key to change.
Imports only the standard library, so that any process can use it.
"""

import errno
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

SHOWN = 80
"""Maximum characters of a file's own text in a message."""
DEEPEST = 64
"""Maximum depth of nested containers."""
_DIGITS = 400  # most characters of a number in JSON; a float has at most 17 significant digits
_INTEGER = 1 << 64


def shown(text: object) -> str:
    """Converts a file's own text to short ASCII for a message."""
    plain = ascii(text[: SHOWN + 1]) if isinstance(text, str) else f"a {type(text).__name__}"
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}…"


class IrregularError(OSError):
    """The path of an expected file is a pipe, a device or a folder."""


def regular(name: str, flags: int) -> int:
    """An ``opener`` for `open` that accepts regular files only; never waits for a pipe.

    Args:
        name: Path of the file; links are followed.
        flags: As for `os.open`.

    Raises:
        IrregularError: It is not a regular file.
        OSError: As for `os.open`.
    """
    try:
        handle = os.open(name, flags | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.EISDIR):
            raise
        kind = stat.S_IFDIR if error.errno == errno.EISDIR else stat.S_IFIFO
    else:
        kind = stat.S_IFMT(os.fstat(handle).st_mode)
        if kind == stat.S_IFREG:
            return handle
        os.close(handle)
    if kind == stat.S_IFDIR:
        raise IrregularError(f"{name}: is a folder, expected a regular file")
    raise IrregularError(f"{name}: is a pipe or device, expected a regular file")


def open_regular(path: str | Path) -> io.BufferedReader:
    """Opens a regular file for reading, see `regular`."""
    return open(path, "rb", opener=regular)


def memory_bytes() -> int:
    """This machine's memory in bytes, the limit for a file that is read whole."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_bounded(path: str | Path, *, most: int) -> bytes:
    """Reads the bytes of a regular file.

    Args:
        path: The file.
        most: Maximum number of bytes.

    Raises:
        OSError: As for `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        # Not more than the file's size: read allocates memory for the whole request.
        content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(content) > most:
        raise OSError(f"{path}: holds more than the {most:,} bytes that such a file may have")
    return content


def read_json(path: str | Path, *, most: int = 1 << 20, nan: bool = False) -> Any:
    """Reads a JSON file.

    Raises:
        OSError: As for `read_bounded`.
        ValueError: As for `parse_json`.
    """
    return parse_json(read_bounded(path, most=most), nan=nan)


def parse_json(text: str | bytes, *, nan: bool = False) -> Any:
    """Parses JSON with bounded values.

    Args:
        text: UTF-8 text.
        nan: Whether NaN and infinities are allowed (JSON has none; Python writes them).

    Raises:
        ValueError: Not JSON, nested too deeply, an integer beyond 64 bits, a number that is not
            finite, or a lone surrogate.
    """

    def number(word: str) -> float:
        value = float(word) if len(word) <= _DIGITS else float("inf")
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"holds the number {shown(word)}, beyond what a float can hold")
        return value

    def integer(word: str) -> int:
        if len(word) > 20 or not -_INTEGER < int(word) < _INTEGER:
            raise ValueError(f"holds the integer {shown(word)}, beyond 64 bits")
        return int(word)

    def constant(word: str) -> float:
        if not nan:
            raise ValueError(f"holds {word}, which is no number")
        return float(word)

    try:
        found = json.loads(text, parse_float=number, parse_int=integer, parse_constant=constant)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    check_plain(found)
    return found


def check_plain(value: Any, *, most: int = 1_000_000) -> None:
    """Refuses anything but None, text, booleans, 64-bit numbers, and lists and dicts of these.

    Args:
        value: The result of a parser.
        most: Maximum number of values; a shared value counts each time.

    Raises:
        ValueError: Another type, nested too deeply, or too many values.
    """
    level, count = [value], 0
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                for key in one:
                    _check_value(key)
                inner += one.values()
            elif isinstance(one, list):
                inner += one
            else:
                _check_value(one)
        level, count = inner, count + len(inner)
        if count > most:
            raise ValueError(f"holds more than {most:,} values")
        if not level:
            return
    raise ValueError("is nested too deeply")


def _check_value(one: Any) -> None:
    if isinstance(one, str):
        if not one.isascii() and any("\ud800" <= sign <= "\udfff" for sign in one):
            raise ValueError("holds half a character (a lone surrogate)")
    elif type(one) is int:
        if not -_INTEGER < one < _INTEGER:
            raise ValueError("holds an integer beyond 64 bits")
    elif one is not None and type(one) not in (float, bool):
        raise ValueError(f"holds {shown(one)}, expected text, numbers, lists and dicts")
