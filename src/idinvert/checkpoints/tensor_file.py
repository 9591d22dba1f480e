"""Safetensors files: written atomically, and read within bounds even if untrusted."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from idinvert.durable import written_whole
from idinvert.untrusted import memory_bytes, open_regular, parse_json, shown

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Dtypes that may be converted to one another; no weights are trained in float8."""
_HEADER = 16 << 20  # bytes; the header of 1,000 tensors has 100,000


class TensorFileError(ValueError):
    """The reason why a file is not a readable safetensors file, without path and key."""


class TensorFile(NamedTuple):
    """Content of a safetensors file.

    Attributes:
        metadata: Text by name.
        shapes: Tensor name to shape.
        tensors: By name, each in its own memory; empty if only the header was read.
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    tensors: dict[str, Tensor]


def read_tensors(path: Path, *, header_only: bool = False) -> TensorFile:
    """Reads a safetensors file without mapping it to memory, so it may change or end meanwhile.

    Args:
        path: The file.
        header_only: Whether to leave the tensors out.

    Raises:
        OSError: The file does not exist or is not readable.
        TensorFileError: It is not such a file, is damaged, or larger than this machine's memory.
    """
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if size < 8 or not 2 <= length <= min(size - 8, _HEADER):
            raise TensorFileError("is truncated or no safetensors file")
        if size > memory_bytes():
            raise TensorFileError(f"has {size:,} bytes, more than this machine's memory")
        text = file.read(length)
        try:
            header = parse_json(text)
            metadata = header.pop("__metadata__", {})
            shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
            ends = [entry["data_offsets"][1] for entry in header.values()]
            if 8 + length + max(ends, default=0) != size:  # `load` checks it too, but later
                raise ValueError("its tensors and its size differ")
            if not all(isinstance(value, str) for value in metadata.values()):
                raise ValueError("its metadata are no text")
            tensors = {} if header_only else load(start + text + file.read())
        except (
            *(SafetensorError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
            *(OverflowError, AssertionError),
        ) as error:
            raise TensorFileError(
                f"is truncated or no safetensors file ({type(error).__name__}: {shown(str(error))})"
            ) from None
    # Bytes other than 0 and 1 are not valid bools.
    tensors = {
        name: tensor.view(torch.uint8).ne(0) if tensor.dtype == torch.bool else tensor
        for name, tensor in sorted(tensors.items())
    }
    return TensorFile(metadata, shapes, tensors)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: dict[str, str]) -> None:
    """Writes a safetensors file; equal contents give equal bytes.

    Args:
        path: Output file, see `written_whole`.
        tensors: On the CPU, sharing no memory; in any layout.
        metadata: Text by name.

    Raises:
        OutputError: The file could not be written; an older file is unchanged.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        save_file(whole, temporary, metadata=metadata)
        with open(temporary, "rb+") as file:
            _order_header(file)


def save_file(tensors: dict[str, Tensor], path: Path, *, metadata: dict[str, str]) -> None:
    """Writes into the existing file, unlike the library's own function.

    The library replaces the file with a new one, which `written_whole` has not locked: a second
    process would consider it a leftover.
    """
    path.write_bytes(save(tensors, metadata=metadata))


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Returns the sha256 of tensors on the CPU with names, dtypes and shapes; 64 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _order_header(file: BinaryIO) -> None:
    """Sorts the header's entries in place: equal networks give equal bytes, so equal fingerprints.

    A safetensors file is the header's length (8 bytes, little endian), the header as JSON padded
    with spaces, then the tensors; its writer does not fix the order of the metadata.
    """
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    ordered = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    data = ordered.encode().ljust(length)
    if len(data) == length:
        file.seek(8)
        file.write(data)
