"""Content hashes of files and folders, cached while a file is unchanged."""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from idinvert.durable import write
from idinvert.errors import DataError
from idinvert.untrusted import memory_bytes, open_regular, read_bounded

Stamp = tuple[int, int, int]
"""Size, modification time in ns, inode; files with the same stamp are considered unchanged."""
_Known = dict[str, tuple[Stamp, str]]

_YOUNG = 2_000_000_000
"""Age in ns below which a changed file is not cached: it could change within one clock tick."""
_UNREADABLE = "unreadable"
"""Replaces a hash in a folder: a dangling link."""
_ANEW: ContextVar[set[str] | None] = ContextVar("anew", default=None)


def default_cache_dir() -> Path:
    """Returns `$IDINVERT_CACHE`, or `~/.cache/idinvert` if it is unset."""
    return Path(os.environ.get("IDINVERT_CACHE") or "~/.cache/idinvert").expanduser()


def weights_cache_dir() -> Path:
    """Returns the folder of third-party weights and copies of them: `weights` in the cache."""
    return default_cache_dir() / "weights"


@contextmanager
def computed_anew(wanted: bool) -> Iterator[None]:
    """Context in which cached hashes are ignored, if `wanted` (verify=true).

    Each file is read once and cached again.
    """
    token = _ANEW.set(set() if wanted else None)
    try:
        yield
    finally:
        _ANEW.reset(token)


def forgotten(index: Path) -> bool:
    """Returns whether `computed_anew` requires an index to be ignored; True once per index."""
    done = _ANEW.get()
    if done is None or str(index) in done:
        return False
    done.add(str(index))
    return True


def stamp_of(path: str | Path) -> Stamp:
    """Returns a file's stamp; links are followed."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ino


def file_hash(path: str | Path) -> str:
    """Returns the sha256 of a file, 64 hex digits.

    Raises:
        OSError: It cannot be read.
    """
    return _hashes(os.path.abspath(path), [""])[""]


def content_hash(path: str | Path, names: Sequence[str] | None = None) -> str:
    """Returns the sha256 of a file, or of a folder's sorted names and their hashes; 64 hex digits.

    Args:
        path: A file, or a folder, which is searched recursively. Hidden files are ignored, links
            are followed.
        names: Names of the files in a folder to include; None for all.

    Raises:
        DataError: It does not exist, or cannot be read.
    """
    root = os.path.abspath(os.path.expanduser(path))
    try:
        if not os.path.isdir(root):
            return file_hash(root)
        digest = hashlib.sha256()
        for name, found in _hashes(root, sorted(names or files_below(root))).items():
            digest.update(f"{name}\n{found}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def files_below(root: str | Path) -> list[str]:
    """Returns the names of files below a folder, with forward slashes, sorted as plain strings.

    Hidden files and folders are ignored; links are followed, and each folder is entered once.
    """
    top, seen = os.fspath(root), set()
    names: list[str] = []

    def fail(error: OSError) -> None:
        raise error

    for folder, below, files in os.walk(top, followlinks=True, onerror=fail):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        inside = os.path.relpath(folder, top).replace(os.sep, "/") + "/"
        start = "" if inside == "./" else inside
        names += [start + name for name in files if not name.startswith(".")]
    return sorted(names)


def require_text(names: Sequence[str], *, folder: str | Path) -> None:
    """Refuses file names that are not valid UTF-8, which tables and pages require.

    Raises:
        DataError: Names the first one.
    """
    for name in names:
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            raise DataError(
                f"the name {os.fsencode(name)!r} in {folder} is no UTF-8 text, which tables and "
                "pages must hold: rename that file, then give the command again."
            )


def _hashes(root: str, names: list[str]) -> dict[str, str]:
    """Returns the hash of every file below `root`; files with the same stamp are not read again."""
    index = _index_file(root)
    known: _Known = {} if forgotten(index) else _load(index)
    found: dict[str, str] = {}
    fresh = len(known) != len(names)
    for name in names:
        path = f"{root}/{name}" if name else root
        try:
            stamp = stamp_of(path)
            before = known.get(name)
            if before is not None and before[0] == stamp:
                found[name] = before[1]
                continue
            known.pop(name, None)
            with open_regular(path) as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
            settled = stamp[1] < time.time_ns() - _YOUNG
            if settled and stamp_of(path) == stamp:
                known[name], fresh = (stamp, found[name]), True
        except OSError:
            if not name:
                raise
            found[name] = _UNREADABLE
    if fresh and known:
        rows = [[name, *known[name][0], known[name][1]] for name in names if name in known]
        with suppress(OSError):
            write(index, json.dumps(rows))
    return found


def _index_file(root: str) -> Path:
    key = hashlib.sha256(root.encode(errors="surrogateescape")).hexdigest()[:16]
    return default_cache_dir() / "hashes" / f"{key}.json"


def _load(index: Path) -> _Known:
    """Returns the cached hashes; a missing or broken index counts as empty."""
    try:
        stored = json.loads(read_bounded(index, most=memory_bytes()))
        return {name: ((size, changed, inode), sha) for name, size, changed, inode, sha in stored}
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def make_array(path: Path, shape: tuple[int, ...]) -> None:
    """Creates a uint8 array file of zeros."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + math.prod(shape))


def is_whole_array(path: Path, shape: tuple[int, ...]) -> bool:
    """Returns whether `path` is a complete uint8 array file of this shape."""
    if not path.is_file():
        return False
    try:
        # An array without elements cannot be mapped.
        array = np.load(path, mmap_mode=None if 0 in shape else "r")
    except (ValueError, OSError, EOFError):  # missing, foreign, or cut off
        return False
    offset = getattr(array, "offset", path.stat().st_size)
    size_fits = path.stat().st_size == offset + array.nbytes
    return size_fits and array.shape == shape and array.dtype == np.uint8
