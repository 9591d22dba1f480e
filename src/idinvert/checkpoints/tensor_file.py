"""Safetensors files: written whole, and read within bounds, whoever wrote them."""

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
"""Types that may become one another; float8 holds no weights that anyone trained."""
_HEADER = 16 << 20  # bytes; one of 1,000 tensors has 100,000


class TensorFileError(ValueError):
    """Why a file is no safetensors file that can be read, in words without path and key."""


class TensorFile(NamedTuple):
    """What a safetensors file holds.

    Attributes:
        metadata: Text by name.
        shapes: Tensor name to shape.
        tensors: By name, in memory of their own; empty where only the header was asked for.
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    tensors: dict[str, Tensor]


def read_tensors(path: Path, *, header_only: bool = False) -> TensorFile:
    """Reads a safetensors file; it may change or end meanwhile, since it is not mapped to memory.

    Args:
        path: The file.
        header_only: Whether to leave the tensors out.

    Raises:
        OSError: It is not there or not readable.
        TensorFileError: It is no such file, damaged, or larger than this machine's memory.
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
            if 8 + length + max(ends, default=0) != size:  # `load` says so too, but late
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
    # A byte that is neither 0 nor 1 is no bool.
    tensors = {
        name: tensor.view(torch.uint8).ne(0) if tensor.dtype == torch.bool else tensor
        for name, tensor in sorted(tensors.items())
    }
    return TensorFile(metadata, shapes, tensors)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: dict[str, str]) -> None:
    """Writes a safetensors file; equal contents give equal bytes.

    Args:
        path: Where to, see `written_whole`.
        tensors: On the CPU, sharing no memory; in any layout.
        metadata: Text by name.

    Raises:
        OutputError: The disk refused; an older file is unchanged.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        save_file(whole, temporary, metadata=metadata)
        with open(temporary, "rb+") as file:
            _order_header(file)


def save_file(tensors: dict[str, Tensor], path: Path, *, metadata: dict[str, str]) -> None:
    """Writes into the file that is there, as the library's own function does not.

    That one puts another file in its place, which `written_whole` has not locked: a second process
    would take it for a leftover.
    """
    path.write_bytes(save(tensors, metadata=metadata))


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors on the CPU with their names, types and shapes; 64 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
