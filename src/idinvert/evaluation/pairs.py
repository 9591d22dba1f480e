"""Pairs of images by a stored permutation, for whatever makes one image of two."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from idinvert.errors import DataError


def partners(count: int, *, seed: int) -> Tensor:
    """A permutation of 0 … count − 1 in which no image is its own partner.

    It is one cycle through all images, drawn from the seed.

    Args:
        count: images, two or more.
        seed: of the draw; the same seed and count give the same pairs.

    Returns:
        int64 [count]: image i is paired with image `partners[i]`.

    Raises:
        DataError: there are fewer than two images.
    """
    if count < 2:
        raise DataError(
            f"a pair takes two images, and there are {count}: set n=2 or more, and give a split of "
            "4 or more"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner


def cycled(values: Sequence[float], count: int) -> Tensor:
    """The values over and over: float32 [count]."""
    return torch.tensor([values[i % len(values)] for i in range(count)])


def write_pairs(path: Path, columns: Mapping[str, Sequence | Tensor]) -> None:
    """Write how every output was made, a line an output."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [c.tolist() if isinstance(c, Tensor) else c for c in columns.values()]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(zip(*rows, strict=True))
