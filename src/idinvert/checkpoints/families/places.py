"""Short words for where a native tensor stands in a file, beside those of `layout`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.layout import Place, Transform, keep
from idinvert.checkpoints.skeleton import without_memory

_DIGITS = 6  # of a layer's number

Foreign = tuple[str, Transform, Transform]
"""A tensor's name in the file, how it becomes native, and the way back."""


def same(name: str) -> Foreign:
    """A tensor of the same form in both layouts."""
    return name, keep, keep


def turned(name: str, *axes: int) -> Foreign:
    """A tensor whose dimensions the file has in another order; native is ``permute(axes)``."""
    back = [axes.index(axis) for axis in range(len(axes))]
    return name, lambda t: t.permute(axes), lambda t: t.permute(back)


def boxed(name: str, *, before: int = 0, after: int = 0) -> Foreign:
    """A tensor that has more dimensions of size 1 in the file."""
    shape = (1,) * before

    def write(t: Tensor) -> Tensor:
        return t.reshape(*shape, *t.shape, *((1,) * after))

    def read(t: Tensor) -> Tensor:
        return t.reshape(t.shape[before : t.ndim - after])

    return name, read, write


def places(named: Mapping[str, Foreign]) -> list[Place]:
    """A layout from native names to where they stand."""
    return [Place(native, *foreign) for native, foreign in named.items()]


def native_shape(consumer: Consumer, foreign: Foreign, *, ndim: int) -> torch.Size:
    """The native shape of a tensor of the file, which has `ndim` dimensions there.

    Raises:
        CheckpointError: It is not there, or has others.
    """
    name, read, _ = foreign
    with without_memory():
        return read(torch.empty(consumer.shape(name, ndim=ndim))).shape


def extent(consumer: Consumer, before: str, after: str = ".") -> int:
    """One more than the highest number n of which there is a key ``{before}{n}{after}…``.

    A key that is missing in between is then named by whoever takes it.
    """
    highest = -1
    for name in consumer.names():
        digits = name.removeprefix(before).partition(after)[0] if name.startswith(before) else ""
        if digits.isdecimal() and digits.isascii() and len(digits) < _DIGITS:
            highest = max(highest, int(digits))
    return highest + 1


def text_keys(content: Any) -> dict[str, Any]:
    """The content as a dict by name; {} where it is none."""
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        return {}
    return content
