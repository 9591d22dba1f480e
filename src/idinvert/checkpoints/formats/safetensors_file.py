"""Safetensors by an own bounded reader: a JSON header, then the tensors side by side."""

import json
import math
from typing import Any

import torch
from torch import Tensor

from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.checkpoints.formats.storages import allocate, buffer, place
from idinvert.errors import CheckpointError

_HEADER = 8 << 20  # bytes; a thousand tensors take 100 KB
_METADATA = "__metadata__"
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def is_safetensors(data: memoryview) -> bool:
    """Whether the file starts as the format does: a length, then a JSON object."""
    return 8 < int.from_bytes(data[:8], "little") + 8 <= len(data) and data[8:9] == b"{"


def read_safetensors(
    data: memoryview, *, budget: Budget
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and text entries by name.

    Args:
        data: The whole file.
        budget: What it may cost.

    Raises:
        CheckpointError: Truncated, or a header that lies about types, shapes or places.
    """
    length = int.from_bytes(data[:8], "little")
    if length > _HEADER:
        raise CheckpointError(f"has a header of {length:,} bytes, expected at most {_HEADER:,}")
    header = _json(bytes(data[8 : 8 + length]))
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError("has metadata that is not text by name (damaged)")
    body = data[8 + length :]
    places = {name: _place(name, entry) for name, entry in header.items()}
    reached = 0
    for begin, end in sorted(span[2:] for span in places.values()):
        if begin != reached:
            raise CheckpointError("has tensors that overlap or leave gaps (damaged)")
        reached = end
    if reached != len(body):
        raise CheckpointError(
            f"has {len(body):,} bytes of tensors where its header says {reached:,} (truncated)"
        )
    tensors = {name: _read(body, *span, budget=budget) for name, span in places.items()}
    return tensors, metadata


def _json(raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"has a header that is no JSON ({shown(str(error))})") from None
    if not isinstance(header, dict):
        raise CheckpointError("has a header that is no JSON object (damaged)")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _place(name: str, entry: Any) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """Type, shape, first byte and the byte behind the last."""
    given = entry if isinstance(entry, dict) else {}
    dtype, shape, span = (
        _TYPES.get(str(given.get("dtype"))),
        given.get("shape"),
        given.get("data_offsets"),
    )
    if dtype is None or not _sizes(shape) or not _sizes(span) or len(span) != 2:  # type: ignore[arg-type]
        raise CheckpointError(f"has an entry of {shown(name)} without type, shape and place")
    begin, end = span  # type: ignore[misc]
    if len(shape) > 16 or end - begin != math.prod(shape) * dtype.itemsize:  # type: ignore[arg-type]
        raise CheckpointError(
            f"gives {shown(name)} of shape {shown(str(shape))} {end - begin:,} bytes (damaged)"
        )
    return dtype, tuple(shape), begin, end  # type: ignore[arg-type]


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 1 << 48 for value in values
    )


def _read(
    body: memoryview, dtype: torch.dtype, shape: tuple[int, ...], begin: int, end: int, *,
    budget: Budget,
) -> Tensor:  # fmt: skip
    count = math.prod(shape)
    storage = allocate(count, dtype, limit=len(body), budget=budget)
    buffer(storage)[:] = body[begin:end]
    stride, step = [], 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(size, 1)
    stride_back = tuple(reversed(stride))
    found = place(storage, offset=0, size=shape, stride=stride_back, budget=budget)
    return found.resolve(budget)
