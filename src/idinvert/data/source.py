"""Where files come from: a folder, a zip archive, an LMDB, one file; one small interface."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

from idinvert.data.content import files_below, stamp_of
from idinvert.data.decode import SUFFIXES
from idinvert.data.lsun import LmdbSource, is_lmdb
from idinvert.errors import DataError


def open_source(path: str | Path, *, key: str) -> ImageSource:
    """Lists the image files of `path`.

    Args:
        path: A folder (searched recursively), a .zip archive, an LMDB, or one image file.
        key: The config key to blame.

    Raises:
        DataError: Nothing is there, it cannot be read, or it holds no image.
    """
    path = Path(path).expanduser()
    try:
        if is_lmdb(path):
            source: ImageSource = LmdbSource(path=path, key=key)
        elif path.is_dir():
            source = FolderSource(root=path, names=_walk(path))
        elif not path.exists():
            raise DataError(f"no such file or folder: {path}; change `{key}`")
        elif path.suffix.lower() == ".zip":
            source = ZipSource(path=path)
        elif path.suffix.lower() in SUFFIXES:
            source = FolderSource(root=path.parent, names=(path.name,))
        else:
            raise DataError(
                f"got {path}, expected a folder, a .zip archive, an LMDB or a file that ends in "
                f"{', '.join(SUFFIXES)}; change `{key}`"
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}; change `{key}`") from error
    if not source.names:
        raise DataError(f"{path} holds no image that ends in {', '.join(SUFFIXES)}; change `{key}`")
    return source


class FolderSource:
    """Files below a folder.

    Attributes:
        names: Paths relative to the folder, with forward slashes, sorted as plain strings.
    """

    def __init__(self, *, root: Path, names: tuple[str, ...]) -> None:
        self.root, self.names = root, names

    def read(self, name: str) -> bytes:
        """The whole file."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {self.root / name}: {error}") from error

    def stamp(self, name: str) -> str:
        """Changes when the file does: its size, time of modification and inode."""
        try:
            return "{}/{}/{}".format(*stamp_of(f"{self.root}/{name}"))
        except OSError:  # a dangling link: reading it will say so
            return "unreadable"

    def where(self) -> str:
        """The absolute path, for messages and cache keys."""
        return str(self.root.absolute())


class ZipSource:
    """Members of a zip archive, read in place; every process opens the archive for itself.

    Attributes:
        names: Members' names, sorted as plain strings.
    """

    def __init__(self, *, path: Path) -> None:
        self.path = path
        self._handle: tuple[int, zipfile.ZipFile] | None = None
        members = [info for info in self._zip().infolist() if not info.is_dir()]
        self._stamps = {
            info.filename: f"{info.file_size}/{info.CRC:08x}"
            for info in members
            if _is_image(info.filename)
        }
        self.names = tuple(sorted(self._stamps))

    def read(self, name: str) -> bytes:
        """The whole member."""
        try:
            return self._zip().read(name)
        # Damage shows as BadZipFile or zlib.error; encryption as RuntimeError.
        except Exception as error:
            raise DataError(f"cannot read {name} in {self.path}: {error}") from error

    def stamp(self, name: str) -> str:
        """Changes when the member does: its size and CRC."""
        return self._stamps[name]

    def where(self) -> str:
        """The absolute path, for messages and cache keys."""
        return str(self.path.absolute())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def _zip(self) -> zipfile.ZipFile:
        # After a fork the parent's handle would share its file position with ours.
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), zipfile.ZipFile(self.path))
        return self._handle[1]


ImageSource = FolderSource | ZipSource | LmdbSource
"""What can be read; `names`, `read(name)`, `stamp(name)` and `where()` are all one needs."""


def _is_image(name: str) -> bool:
    """By suffix; hidden files and the archive litter of some systems do not count."""
    inside = f"/{name}"
    hidden = "/." in inside or "/__MACOSX/" in inside
    return name.lower().endswith(SUFFIXES) and not hidden


def _walk(root: Path) -> tuple[str, ...]:
    """Image files below `root`, links followed, each folder entered once."""
    return tuple(name for name in files_below(root) if _is_image(name))
