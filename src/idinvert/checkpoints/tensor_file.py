"""Writing tensors to a safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from safetensors.torch import save_file
from torch import Tensor

from idinvert.durable import written_whole


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
