"""What every procedural domain is: labels by index, and pictures and masks by labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from idinvert.data.domain import Attribute


class SampleLabels(Protocol):
    """Labels float32 `[N, A]` of indices int64 `[N]`."""

    def __call__(self, indices: Tensor, *, seed: int) -> Tensor: ...


class Render(Protocol):
    """uint8 pictures `[N, 3, R, R]` and masks `[N, R, R]` of labels `[N, A]`."""

    def __call__(self, labels: Tensor, *, resolution: int) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Renderer:
    """A procedural domain before its pictures are drawn.

    Attributes:
        name: Of the domain, for instance `faces_mini`.
        version: Raised whenever a pixel changes: caches and fingerprints carry it.
        attributes: The A labels.
        mask_classes: Names of the classes in the masks; the index is the value.
        sample_labels: Labels by index.
        render: Pictures and masks by labels.
    """

    name: str
    version: int
    attributes: tuple[Attribute, ...]
    mask_classes: tuple[str, ...]
    sample_labels: SampleLabels
    render: Render


def in_blocks(
    draw: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    labels: Tensor,
    *,
    attributes: int,
    resolution: int,
) -> tuple[Tensor, Tensor]:
    """Draws in blocks of a fixed size, padded at the end.

    So a picture does not depend on which others are drawn with it.

    Args:
        draw: One block: labels float64 `[B, A]` and the samples a side (two a pixel) to uint8
            pictures `[B, 3, R, R]` and masks `[B, R, R]`.
        labels: `[N, A]`.
        attributes: A.
        resolution: R, pixels.

    Returns:
        uint8 pictures `[N, 3, R, R]` and uint8 masks `[N, R, R]`.

    Raises:
        ValueError: `labels` is not `[N, A]`.
    """
    if labels.ndim != 2 or labels.shape[1] != attributes:
        raise ValueError(f"labels must be [N, {attributes}], got {list(labels.shape)}")
    n = labels.shape[0]
    block = 16 if resolution <= 64 else 8
    pictures = labels.new_empty((n, 3, resolution, resolution), dtype=torch.uint8)
    masks = labels.new_empty((n, resolution, resolution), dtype=torch.uint8)
    with torch.no_grad():
        for start in range(0, n, block):
            rows = labels[start : start + block].to(torch.float64)
            filled = rows.shape[0]
            rows = torch.cat([rows, rows[-1:].expand(block - filled, -1)])
            picture, mask = draw(rows, 2 * resolution)
            pictures[start : start + filled] = picture[:filled]
            masks[start : start + filled] = mask[:filled]
    return pictures, masks
