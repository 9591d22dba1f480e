"""Opens a checkpoint file of any container as plain data; nothing in it is ever run."""

import mmap
import struct
import zlib
from pathlib import Path
from typing import Any

from idinvert.checkpoints.formats import numpy_file, torch_legacy, torch_zip, zip_directory
from idinvert.checkpoints.formats.archive import Archive, Kind
from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.checkpoints.formats.machine import Machine
from idinvert.checkpoints.formats.names import ALL
from idinvert.checkpoints.formats.opcodes import run
from idinvert.checkpoints.formats.plain import plain
from idinvert.checkpoints.formats.safetensors_file import is_safetensors, read_safetensors
from idinvert.errors import CheckpointError

_EXPECTED = "expected safetensors, a torch file, a pickle, .npy or .npz"

_FOREIGN = {
    b"\x1f\x8b": "is compressed with gzip; unpack it first",
    b"BZh": "is compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "is compressed with xz; unpack it first",
    b"Rar!": "is a RAR archive; unpack it first",
    b"7z\xbc\xaf": "is a 7z archive; unpack it first",
    b"\x89HDF": "is an HDF5 file (Keras), which is not read",
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself; run git lfs pull",
    b"<": "is a web page, so the download failed",
}
"""How files start that people take for checkpoints."""

_BROKEN = (
    ArithmeticError, AttributeError, BufferError, EOFError, LookupError, RuntimeError,
    SyntaxError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What Python, NumPy and torch say about data that no check foresaw."""


def read_archive(path: str | Path, *, key: str) -> Archive:
    """Reads a file; which container it is is told from its content, not from its name.

    Args:
        path: The file: safetensors, torch (zip, or the stream before 1.6), a raw pickle (NVlabs,
            TensorFlow), ``.npy`` or ``.npz``, pickled objects in them included.
        key: The config key that named it, for messages.

    Raises:
        CheckpointError: No such file; none of these containers; damaged; asks for anything that
            is not on the list of names; or is beyond the bounds.
    """
    path, size = Path(path), 0
    try:
        if not path.is_file():
            what = "is a folder or no plain file" if path.exists() else "no such file"
            raise CheckpointError(f"{what}, expected a checkpoint file")
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise CheckpointError(f"is empty (a download cut short?), {_EXPECTED}")
            # Not closed here: errors on their way up still look at it; it goes with the last view.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        kind, content, metadata = _read(memoryview(data), Budget(size=size))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; change {key}") from None
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror or error}), expected a checkpoint file; "
            f"change {key}"
        ) from None
    except MemoryError:
        raise CheckpointError(
            f"{path}: its {size:,} bytes do not fit into this machine's memory; change {key}"
        ) from None
    except _BROKEN as error:
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise CheckpointError(
            f"{path}: is damaged or not what it seems ({reason}), {_EXPECTED}; change {key}"
        ) from None
    return Archive(kind=kind, path=path, content=content, metadata=metadata)


def _read(data: memoryview, budget: Budget) -> tuple[Kind, Any, dict[str, str]]:
    """Container, content and metadata."""
    head = bytes(data[:512])
    if head.startswith(b"PK"):
        return *_read_zip(data, budget), {}
    if head.startswith(numpy_file.MAGIC):
        return "npy", numpy_file.read_npy(data, budget=budget), {}
    if is_safetensors(data):
        return "safetensors", *read_safetensors(data, budget=budget)
    if head.startswith(torch_legacy.MAGIC):
        value = torch_legacy.read_stream(data, names=ALL, budget=budget)
        return "torch_legacy", plain(value, budget=budget), {}
    for start, what in _FOREIGN.items():
        if head.lstrip().startswith(start):
            raise CheckpointError(f"{what}; {_EXPECTED}")
    if head[257:262] == b"ustar":
        raise CheckpointError(
            f"is a tar archive (torch before 0.2, or packed files), which is not read; {_EXPECTED}"
        )
    return "pickle", _read_pickle(data, budget), {}


def _read_zip(data: memoryview, budget: Budget) -> tuple[Kind, Any]:
    members = zip_directory.members(data)
    if torch_zip.is_torch(members):
        return "torch_zip", torch_zip.read_torch_zip(data, members, budget=budget)
    if numpy_file.is_npz(members):
        return "npz", numpy_file.read_npz(data, members, budget=budget)
    some = ", ".join(shown(name) for name in sorted(members)[:3]) or "nothing"
    raise CheckpointError(f"is a zip that holds {some}, {_EXPECTED}")


def _read_pickle(data: memoryview, budget: Budget) -> Any:
    """A raw pickle; before protocol 2 it has no mark of its own and starts with a container."""
    if data[0] != 0x80 and bytes(data[:1]) not in (b"(", b"}", b"]", b"c"):
        raise CheckpointError(f"starts with {shown(str(bytes(data[:8])))}, {_EXPECTED}")
    machine = Machine(data, names=ALL, budget=budget)
    value = run(machine)
    if machine.at != len(data):
        raise CheckpointError(
            f"has {len(data) - machine.at:,} bytes after the end of its pickle (damaged)"
        )
    return plain(value, budget=budget)
