"""Writing a file so that it appears whole or not at all, readable by the group."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from safetensors.torch import save_file
from torch import Tensor


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[str]:
    """The path of an empty file beside the place, which is flushed and renamed at the end.

    An older file stays until then, or for good where something fails.

    Args:
        path: Where to; folders are made.

    Raises:
        OSError: The disk refused; an older file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0600 is not for a shared run folder
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    _sync_folder(path.parent)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: dict[str, str]) -> None:
    """Writes a safetensors file; equal contents give equal bytes.

    Args:
        path: Where to, see `written_whole`.
        tensors: On the CPU, sharing no memory; in any layout.
        metadata: Text by name.

    Raises:
        OSError, SafetensorError: The disk refused; an older file is unchanged.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        save_file(whole, temporary, metadata=metadata)
        with open(temporary, "rb+") as file:
            _order_header(file)


def _order_header(file: BinaryIO) -> None:
    """Sort the header's entries in place: equal networks give equal bytes, so equal fingerprints.

    A safetensors file is the header's length (8 bytes, little endian), the header as JSON padded
    with spaces, then the tensors; its writer leaves the order of the metadata to chance.
    """
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    ordered = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    data = ordered.encode().ljust(length)
    if len(data) == length:
        file.seek(8)
        file.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can sync a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
