"""What every procedural domain is: labels by index, and pictures and masks by labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.data.domain import Attribute
from idinvert.toy.drawing import column

Columns = dict[str, Tensor]
"""One tensor for each attribute, by the attribute's name."""


@dataclass(frozen=True)
class Renderer:
    """A procedural domain before its pictures are drawn.

    Attributes:
        name: Of the domain, for instance `faces_mini`.
        version: Raised whenever a pixel changes: caches and fingerprints carry it.
        attributes: The A labels.
        mask_classes: Names of the classes in the masks; the index is the value.
        labels: Labels float32 `[N, A]` of indices int64 `[N]` and a seed.
        draw: Draws one block from its labels, float64 `[B]` and float32 `[B, 1, 1]`, and the
            samples a side (two a pixel): uint8 pictures `[B, 3, R, R]` and masks `[B, R, R]`.
        drawn: Whether the split is a random draw, as LSUN's, or follows the index, as FFHQ's.
    """

    name: str
    version: int
    attributes: tuple[Attribute, ...]
    mask_classes: tuple[str, ...]
    labels: Callable[[Tensor, int], Tensor]
    draw: Callable[[Columns, Columns, int], tuple[Tensor, Tensor]]
    drawn: bool = True

    def sample_labels(self, indices: Tensor, *, seed: int) -> Tensor:
        """Draws labels; those of index i never depend on other indices.

        Args:
            indices: int64 `[N]`.
            seed: Of the whole domain.

        Returns:
            float32 `[N, A]`, in the order of `attributes`: continuous in [-1, 1], binary 0 or 1.
        """
        return self.labels(indices, seed)

    def render(self, labels: Tensor, *, resolution: int) -> tuple[Tensor, Tensor]:
        """Draws pictures and masks, in blocks of a fixed size that are padded at the end.

        A picture therefore does not depend on which others are drawn with it.

        Args:
            labels: float `[N, A]` in the order of `attributes`.
            resolution: R, pixels.

        Returns:
            uint8 pictures `[N, 3, R, R]` and uint8 masks `[N, R, R]` of indices into
            `mask_classes`.

        Raises:
            ValueError: `labels` is not `[N, A]`.
        """
        count = len(self.attributes)
        if labels.ndim != 2 or labels.shape[1] != count:
            raise ValueError(f"labels must be [N, {count}], got {list(labels.shape)}")
        n = labels.shape[0]
        block = 16 if resolution <= 64 else 8
        pictures = labels.new_empty((n, 3, resolution, resolution), dtype=torch.uint8)
        masks = labels.new_empty((n, resolution, resolution), dtype=torch.uint8)
        with torch.no_grad():
            for start in range(0, n, block):
                rows = labels[start : start + block].to(torch.float64)
                filled = rows.shape[0]
                rows = torch.cat([rows, rows[-1:].expand(block - filled, -1)])
                value = {a.name: rows[:, i] for i, a in enumerate(self.attributes)}
                p = {name: column(numbers) for name, numbers in value.items()}
                picture, mask = self.draw(value, p, 2 * resolution)
                pictures[start : start + filled] = picture[:filled]
                masks[start : start + filled] = mask[:filled]
        return pictures, masks
