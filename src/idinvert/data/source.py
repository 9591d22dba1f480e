"""Sources of image files with one interface: a folder, a zip archive, an LMDB, or single files."""

import glob
import os
import subprocess
import sys
import threading
import weakref
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from idinvert.data.content import files_below, require_text, stamp_of
from idinvert.data.decode import LARGEST as MOST_PIXELS
from idinvert.data.formats import SUFFIXES, WORDS, left_out
from idinvert.errors import ConfigError, DataError
from idinvert.untrusted import open_regular, read_bounded

LARGEST = 256 << 20
"""Maximum bytes of an image file."""
_NOT_IMAGES = (b"__keys__", b"__len__", b"length", b"num-samples")
"""Keys under which some writers store counts and lists."""

_WHOLE = 1 << 30
"""Maximum size in bytes of a database whose values are checked in addition to its keys."""
_WALK = """
import lmdb, os, sys
environment = lmdb.open(sys.argv[1], subdir=False, readonly=True, lock=False)
values = os.path.getsize(sys.argv[1]) <= int(sys.argv[2])
with environment.begin(buffers=True) as transaction:
    for key, value in transaction.cursor():
        if values:
            bytes(value)
"""
WALK = (sys.executable, "-P", "-c", _WALK)
"""Command that reads a database to its end; to be followed by the file and `_WHOLE`."""

_OPEN: weakref.WeakValueDictionary[tuple[int, str], Any] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()
"""A process may open a database only once, so all readers share the open environment."""


def open_source(path: str | Path, *, key: str, megapixels: float | None = None) -> "ImageSource":
    """Lists the image files of `path`.

    Args:
        path: A folder (searched recursively), a .zip archive, an LMDB, one image file, or several;
            see `chosen`.
        key: The config key, for errors.
        megapixels: The largest image that is decoded; None: 134.

    Raises:
        ConfigError: `megapixels` is not a positive number.
        DataError: It does not exist, cannot be read, or contains no image.
    """
    source = _open(Path(path).expanduser(), key=key)
    if megapixels is not None:
        if isinstance(megapixels, bool) or not 0 < megapixels < 1e6:
            part = key.replace("path", "megapixels") if "." in key else "megapixels"
            raise ConfigError(f"got {megapixels} megapixels, expected more than 0; change `{part}`")
        source.most_pixels = round(megapixels * 1e6)
    return source


def _open(path: Path, *, key: str) -> "ImageSource":
    try:
        if _is_lmdb(path):
            source: ImageSource = LmdbSource(path=path, key=key)
        elif path.is_dir():
            source = FolderSource(path=path, files=files_below(path))
        elif not path.exists() and (files := chosen(path)) is not None:
            source = _several(files, path, key=key)
        elif not path.exists():
            raise DataError(f"no such file or folder: {path}; change `{key}`")
        elif path.suffix.lower() == ".zip":
            with open_regular(path):
                source = ZipSource(path=path)
        elif path.suffix.lower() in SUFFIXES:
            source = FolderSource(path=path.parent, files=[path.name])
            source.names = (path.name,)  # a hidden file, too, if it is given itself
        elif advice := left_out([path.name]):
            raise DataError(f"cannot read {path}: {advice[0]}; or change `{key}`")
        else:
            raise DataError(
                f"got {path}, expected a folder, a .zip archive, an LMDB or a file of {WORDS}; "
                f"change `{key}`"
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}; change `{key}`") from error
    if not source.names:
        but = "".join(f"; {line}" for line in source.left_out)
        raise DataError(f"{path} holds no image of {WORDS}{but}; change `{key}`")
    return source


def chosen(path: Path) -> list[Path] | None:
    """Returns files of a list `[a.jpg,b/c.jpg]`, as given, or of a pattern `photos/*.jpg`, sorted.

    Args:
        path: A path that does not exist.

    Returns:
        None if it is neither of them.
    """
    text = str(path)
    if text.startswith("[") and text.endswith("]"):
        names = [name.strip().strip("'\"") for name in text[1:-1].split(",")]
        return [Path(name).expanduser() for name in dict.fromkeys(names) if name]
    if glob.has_magic(text):
        found = sorted(glob.glob(os.path.expanduser(text), recursive=True))
        return [Path(name) for name in found if not os.path.isdir(name)]
    return None


def _several(files: Sequence[Path], given: Path, *, key: str) -> "FolderSource":
    """Returns a source of chosen files, relative to their common folder."""
    listed = str(given).startswith("[")
    for file in files if listed else ():
        if not file.is_file() or not _is_image(file.name):
            what = f"expected a file of {WORDS}" if file.exists() else "no such file"
            raise DataError(f"{what}: {file}; change `{key}`")
    if not files:
        raise DataError(f"no file matches {given}; change `{key}`")
    whole = [os.path.abspath(file) for file in files]
    top = os.path.commonpath([os.path.dirname(name) for name in whole])
    names = [os.path.relpath(name, top).replace(os.sep, "/") for name in whole]
    return FolderSource(path=Path(top), files=names)


class _Source:
    """Image files in one location.

    Attributes:
        path: Path of the folder, archive or database.
        names: Names of the images, sorted as plain strings.
        left_out: Lines that count unsupported image and archive files by kind.
        most_pixels: Maximum pixels of an image that is decoded.
    """

    left_out: Sequence[str] = ()
    most_pixels: int = MOST_PIXELS
    path: Path
    names: tuple[str, ...]
    _handle: tuple[int, Any] | None = None
    """The open handle and the process that opened it; each process opens its own."""

    def where(self) -> str:
        """Returns the absolute path, for messages and cache keys."""
        return str(self.path.absolute())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}


class FolderSource(_Source):
    """Files below a folder.

    Args:
        path: The folder.
        files: Names of all files, images or not, relative to the folder, with forward slashes.

    Raises:
        DataError: A name is not valid UTF-8.
    """

    def __init__(self, *, path: Path, files: Sequence[str]) -> None:
        require_text(files, folder=path)
        self.path, self.files = path, files
        self.names = tuple(filter(_is_image, files))
        self.left_out = left_out(name for name in files if not _is_image(name))

    def read(self, name: str) -> bytes:
        """Returns the whole file."""
        try:
            return read_bounded(self.path / name, most=LARGEST)
        except OSError as error:
            raise DataError(f"cannot read {self.path / name}: {error}") from error

    def stamp(self, name: str) -> str:
        """Returns size, modification time and inode, which change when the file does."""
        try:
            return "{}/{}/{}".format(*stamp_of(f"{self.path}/{name}"))
        except OSError:  # a dangling link: reading it raises an error
            return "unreadable"


class ZipSource(_Source):
    """Members of a zip archive, read in place."""

    def __init__(self, *, path: Path) -> None:
        self.path = path
        members = [info for info in self._zip().infolist() if not info.is_dir()]
        self._stamps = {
            info.filename: f"{info.file_size}/{info.CRC:08x}"
            for info in members
            if _is_image(info.filename)
        }
        self.names = tuple(sorted(self._stamps))
        others = (info.filename for info in members if not _is_litter(info.filename))
        self.left_out = left_out(name for name in others if name not in self._stamps)

    def read(self, name: str) -> bytes:
        """Returns the whole member."""
        try:
            with self._zip().open(name) as member:
                content = member.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise DataError(f"it holds more than {LARGEST:,} bytes, far more than an image")
            return content
        # Damage shows as BadZipFile or zlib.error; encryption as RuntimeError.
        except Exception as error:
            raise DataError(f"cannot read {name} in {self.path}: {error}") from error

    def stamp(self, name: str) -> str:
        """Returns size and CRC, which change when the member does."""
        return self._stamps[name]

    def _zip(self) -> zipfile.ZipFile:
        # After a fork the parent's handle would share its file position with the child's.
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), zipfile.ZipFile(self.path))
        return self._handle[1]


class LmdbSource(_Source):
    """An LMDB, the format in which LSUN is distributed: every value is a whole image file.

    Args:
        path: The database's folder, or its single file.
        key: The config key, for errors.

    Attributes:
        names: The keys in order, each byte decoded to one character (Latin-1), so that any key has
            a name and names sort like keys.

    Raises:
        DataError: The package `lmdb` is not installed, or this is not a whole database.
    """

    def __init__(self, *, path: Path, key: str) -> None:
        self.path = path
        lmdb = _package(path, key=key)
        _require_readable(self._file(), key=key)
        try:
            environment = self._environment()
            needs = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
            if (size := self._file().stat().st_size) < needs:  # reading beyond it kills a process
                raise DataError(
                    f"{path} is truncated: it has {size:,} of {needs:,} bytes; change `{key}`"
                )
            with environment.begin() as transaction:
                keys = list(transaction.cursor().iternext(values=False))
        except (lmdb.Error, MemoryError, ValueError) as error:
            raise DataError(f"cannot read {path}: {error}; change `{key}`") from error
        self.names = tuple(k.decode("latin-1") for k in keys if k not in _NOT_IMAGES)

    def read(self, name: str) -> bytes:
        """Returns the whole value."""
        try:
            with self._environment().begin() as transaction:
                value = transaction.get(name.encode("latin-1"))
        except Exception as error:  # lmdb.Error, which is only defined in the package
            raise DataError(f"cannot read {name} in {self.path}: {error}") from error
        if value is None:
            raise DataError(f"cannot read {name} in {self.path}: no such key")
        return value

    def stamp(self, name: str) -> str:
        """Returns the value's size and the database's modification time."""
        with self._environment().begin(buffers=True) as transaction:
            value = transaction.get(name.encode("latin-1"))
            size = -1 if value is None else len(value)
        return f"{size}/{self._file().stat().st_mtime_ns}"

    def _file(self) -> Path:
        return self.path / "data.mdb" if self.path.is_dir() else self.path

    def _environment(self) -> Any:
        process = os.getpid()
        if self._handle is None or self._handle[0] != process:
            with _OPENING:
                # Environments inherited by a fork cannot be used and must be closed.
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
            self._handle = (process, env)
        return self._handle[1]


ImageSource = FolderSource | ZipSource | LmdbSource
"""Union of all sources; users need only `names`, `read(name)`, `stamp(name)` and `where()`."""


def _is_image(name: str) -> bool:
    """Returns whether a suffix is of an image; ignores hidden files and archivers' extra files."""
    return name.lower().endswith(SUFFIXES) and not _is_litter(name)


def _is_litter(name: str) -> bool:
    inside = f"/{name}"
    return "/." in inside or "/__MACOSX/" in inside


def _is_lmdb(path: Path) -> bool:
    """Returns whether `path` is a folder with a `data.mdb`, or a `.mdb` or `.lmdb` file."""
    return (path / "data.mdb").is_file() or (
        path.is_file() and path.suffix.lower() in (".mdb", ".lmdb")
    )


def _require_readable(path: Path, *, key: str) -> None:
    """Reads a database in a separate process, because a damaged one may kill its reader.

    Raises:
        DataError: The process was killed.
    """
    walk = [*WALK, os.path.realpath(path), str(_WHOLE)]
    if subprocess.run(walk, capture_output=True, check=False).returncode < 0:
        raise DataError(f"{path} is damaged: a process that reads it is killed; change `{key}`")


def _package(path: Path, *, key: str) -> ModuleType:
    """Imports the package `lmdb`."""
    try:
        import lmdb
    except ImportError as error:
        raise DataError(
            f"{path} is an LMDB database, and the package lmdb is not installed; expected "
            f"`pip install 'idinvert[lsun]'`, or a folder or .zip in `{key}`"
        ) from error
    return lmdb
