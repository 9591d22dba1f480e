"""Atomic, durable writing of files, and checks of files by their sha256."""

import contextlib
import fcntl
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from idinvert.errors import OutputError
from idinvert.untrusted import open_regular, read_bounded, regular

SUMS = "SHA256SUMS"
"""Name of a file for `sha256sum --check`: one line per file of the folder, with its hash."""
_MOST_SUMS = 1 << 24  # bytes


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields the path of an empty temporary file; at the end, flushes it and renames it to `path`.

    An existing file is kept until then, and after an error. The first write to a folder removes
    the temporary files of killed processes, which are no longer locked.

    Args:
        path: The target; its folders are created.

    Raises:
        OutputError: The file cannot be written; an existing file is unchanged.
    """
    temporary = None
    if path.is_dir():
        raise OutputError(f"{path}: is a folder, expected a regular file; move it away")
    try:
        _make_folder(path.parent)
        sweep(path.parent)
        handle, temporary = _locked_file(path)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0600 is wrong for shared folders
            move(temporary, path)
        finally:
            os.close(handle)
    except OutputError:
        raise
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{path}: could not be written ({error}); what was there before is unchanged. Free "
            "some space or give another path (system.outputs; IDINVERT_CACHE for the cache)"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> Path:
    """Writes a file atomically, see `written_whole`; returns its path."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def append(path: Path, line: str) -> None:
    """Appends a line to a file; it is on disk when this returns.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        _make_folder(path.parent)
        with open(path, "ab+", opener=regular) as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                line = "\n" + line  # ends the unfinished line of a killed process
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"{path}: could not be written ({error}). Free some space, or change system.outputs"
        ) from error


def move(source: Path, target: Path) -> None:
    """Renames a complete, flushed file or folder, and flushes the rename itself."""
    os.replace(source, target)
    _sync_folder(target.parent)


@functools.cache
def sweep(folder: Path) -> None:
    """Removes the temporary files of killed processes, once per folder."""
    for left in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError), open(left, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def hash_of(path: Path) -> str:
    """The sha256 of a file's present content, 64 hex digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path, files: Iterable[Path], *, known: Iterable[Path] = ()) -> None:
    """Writes the hashes of a folder's files into its `SUMS`; `known` files have not changed."""
    sums = {folder / name: digest for name, digest in read_sums(folder).items()}
    sums = {path: sums[path] for path in known if path in sums}
    lines = [f"{sums.get(f) or hash_of(f)}  {f.relative_to(folder)}\n" for f in sorted(files)]
    write(folder / SUMS, "".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """Reads the hash of each file by its path in the folder; empty without `SUMS`."""
    try:
        text = read_bounded(folder / SUMS, most=_MOST_SUMS).decode(errors="replace")
    except FileNotFoundError:
        return {}
    rows = [line.split("  ", 1) for line in text.splitlines()]
    return {row[1]: row[0] for row in rows if len(row) == 2}


def damaged(folder: Path) -> list[str]:
    """The files in `SUMS` that are missing or have another hash."""
    return [
        name
        for name, expected in read_sums(folder).items()
        if not (folder / name).is_file() or hash_of(folder / name) != expected
    ]


def _locked_file(path: Path) -> tuple[int, Path]:
    """Creates a temporary file beside `path`, locked so that no other process removes it."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with contextlib.suppress(OSError):  # without locks, `sweep` removes nothing either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # removed by `sweep` before it was locked


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable, if the system can sync a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
