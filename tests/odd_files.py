"""What may stand where a program expects a file of its own."""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path


def _socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as one:  # paths are short
        one.bind(path.name)


ODD: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "dangling link": lambda path: path.symlink_to(path.parents[1] / "nowhere"),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "socket": _socket,
}
