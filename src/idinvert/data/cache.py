"""The folder for things that can be made again, and how several processes share a file in it."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def default_cache_dir() -> Path:
    """`$IDINVERT_CACHE`, or `~/.cache/idinvert` where it is unset."""
    return Path(os.environ.get("IDINVERT_CACHE") or "~/.cache/idinvert").expanduser()


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Lets one process of this machine in at a time; one that dies lets go by itself."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether `path` is a complete uint8 array file of this shape."""
    try:
        array = open_array(path, shape)
    except (ValueError, OSError, EOFError):  # missing, foreign, or cut off
        return False
    fits = array.shape == shape and array.dtype == np.uint8
    if isinstance(array, np.memmap):
        fits = fits and path.stat().st_size == array.offset + array.nbytes
    return fits


def open_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Maps an array file for reading (an array without elements cannot be mapped)."""
    return np.load(path, mmap_mode=None if 0 in shape else "r")


@contextmanager
def new_arrays(wanted: Sequence[tuple[Path, tuple[int, ...]]]) -> Iterator[list[np.ndarray]]:
    """Yields writable uint8 arrays that get their final names only when the block ends well.

    They are written under temporary names of this process, synchronised and renamed: a file under
    its final name is whole, whoever wrote it and however many did.
    """
    temporary = [path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp") for path, _ in wanted]
    try:
        arrays: list[np.ndarray] = []
        for name, (_, shape) in zip(temporary, wanted, strict=True):
            if 0 in shape:
                with name.open("wb") as handle:
                    np.save(handle, np.zeros(shape, dtype=np.uint8))
                arrays.append(np.zeros(shape, dtype=np.uint8))
            else:
                arrays.append(
                    np.lib.format.open_memmap(name, mode="w+", dtype=np.uint8, shape=shape)
                )
        yield arrays
        for array, name, (path, _) in zip(arrays, temporary, wanted, strict=True):
            if isinstance(array, np.memmap):
                array.flush()
            os.replace(name, path)
    finally:
        for name in temporary:
            name.unlink(missing_ok=True)
