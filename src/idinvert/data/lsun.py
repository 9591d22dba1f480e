"""LMDB databases of image files, the form in which LSUN is handed out; read in place."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

from idinvert.errors import DataError

_NOT_IMAGES = (b"__keys__", b"__len__", b"length", b"num-samples")
"""Keys under which some writers keep counts and lists."""

_OPEN: weakref.WeakValueDictionary[tuple[int, str], Any] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()
"""A process may open a database once only: all who read it share what is open."""


def is_lmdb(path: Path) -> bool:
    """Whether `path` is a folder with a `data.mdb`, or a file called `.mdb` or `.lmdb`."""
    return (path / "data.mdb").is_file() or (
        path.is_file() and path.suffix.lower() in (".mdb", ".lmdb")
    )


class LmdbSource:
    """The entries of a database: every value is a whole image file.

    Args:
        path: The database's folder, or its one file.
        key: The config key to blame.

    Attributes:
        names: The keys in their order, byte for byte one letter (Latin-1), so that any key has a
            name and names sort as keys do.

    Raises:
        DataError: The package `lmdb` is not installed, or this is no database.
    """

    def __init__(self, *, path: Path, key: str) -> None:
        self.path = path
        self._env: tuple[int, Any] | None = None
        lmdb = _package(path, key=key)
        try:
            with self._environment().begin() as transaction:
                keys = list(transaction.cursor().iternext(values=False))
        except lmdb.Error as error:
            raise DataError(f"cannot read {path}: {error}; change `{key}`") from error
        self.names = tuple(k.decode("latin-1") for k in keys if k not in _NOT_IMAGES)

    def read(self, name: str) -> bytes:
        """The whole value."""
        try:
            with self._environment().begin() as transaction:
                value = transaction.get(name.encode("latin-1"))
        except Exception as error:  # lmdb.Error, which only the package knows
            raise DataError(f"cannot read {name} in {self.path}: {error}") from error
        if value is None:
            raise DataError(f"cannot read {name} in {self.path}: no such key")
        return value

    def stamp(self, name: str) -> str:
        """Changes when the database does: its time of modification and the value's size."""
        with self._environment().begin(buffers=True) as transaction:
            value = transaction.get(name.encode("latin-1"))
            size = -1 if value is None else len(value)
        return f"{size}/{self._file().stat().st_mtime_ns}"

    def where(self) -> str:
        """The absolute path, for messages and cache keys."""
        return str(self.path.absolute())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_env": None}

    def _file(self) -> Path:
        return self.path / "data.mdb" if self.path.is_dir() else self.path

    def _environment(self) -> Any:
        process = os.getpid()
        if self._env is None or self._env[0] != process:
            with _OPENING:
                # What a process has open is of no use to those that fork from it, and in the way.
                for inherited in [place for place in _OPEN if place[0] != process]:
                    _OPEN.pop(inherited).close()
                place = (process, os.path.realpath(self._file()))
                env = _OPEN.get(place)
                if env is None:
                    env = _package(self.path, key="data.path").open(
                        place[1],
                        subdir=False,
                        readonly=True,
                        lock=False,
                        readahead=False,
                        meminit=False,
                        max_spare_txns=16,
                    )
                    _OPEN[place] = env
            self._env = (process, env)
        return self._env[1]


def _package(path: Path, *, key: str) -> ModuleType:
    """The package `lmdb`."""
    try:
        import lmdb
    except ImportError as error:
        raise DataError(
            f"{path} is an LMDB database, and the package lmdb is not installed; expected "
            f"`pip install 'idinvert[lsun]'`, or a folder or .zip in `{key}`"
        ) from error
    return lmdb
