"""Files that come from anyone: opened only if they are regular, read and parsed within bounds.

What is wrong with them is a ``ValueError`` or an ``OSError`` here, whose caller knows the words and
the key for its user. Imports the standard library alone, so that any process may use it.
"""

import errno
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

SHOWN = 80
"""Characters of a file's own text in a message."""
DEEPEST = 64
"""Containers inside one another."""
_DIGITS = 400  # of a number in JSON; a float has at most 17 that count
_INTEGER = 1 << 64


def shown(text: object) -> str:
    """A file's own text, fit for a message: short, and ASCII."""
    plain = ascii(text[: SHOWN + 1]) if isinstance(text, str) else f"a {type(text).__name__}"
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}…"


class IrregularError(OSError):
    """A pipe, a device or a folder stands where a file is expected."""


def regular(name: str, flags: int) -> int:
    """The ``opener`` of `open` for what must be a file: never waits for a pipe or reads a device.

    Args:
        name: Of the file; links are followed.
        flags: As `os.open`.

    Raises:
        IrregularError: It is something else.
        OSError: As `os.open`.
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
    """Opens a file to read, as `regular` does."""
    return open(path, "rb", opener=regular)


def memory_bytes() -> int:
    """What a file that is read whole may have at most: this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_bounded(path: str | Path, *, most: int) -> bytes:
    """The bytes of a regular file.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        OSError: As `open_regular`, or it holds more.
    """
    with open_regular(path) as file:
        # No more than there is: a read takes memory for all that it asks for.
        content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(content) > most:
        raise OSError(f"{path}: holds more than the {most:,} bytes that such a file may have")
    return content


def read_json(path: str | Path, *, most: int = 1 << 20, nan: bool = False) -> Any:
    """The JSON of a file.

    Raises:
        OSError: As `read_bounded`.
        ValueError: As `parse_json`.
    """
    return parse_json(read_bounded(path, most=most), nan=nan)


def parse_json(text: str | bytes, *, nan: bool = False) -> Any:
    """JSON whose values every caller can hold.

    Args:
        text: UTF-8.
        nan: Whether NaN and infinities are allowed (JSON has none; Python writes them).

    Raises:
        ValueError: No JSON, too deep, an integer beyond 64 bits, a number that is not finite, or
            half a character.
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
    """Refuses what is not plain: None, text, numbers of 64 bits, lists, and dicts of text.

    Args:
        value: As a parser gave it.
        most: Values that it may have; what is shared counts each time.

    Raises:
        ValueError: Something else, too deep, or more values.
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
