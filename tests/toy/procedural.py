"""What tests of procedural domains share: labels by name, and areas of classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.toy.renderer import Renderer


def row(renderer: Renderer, **values: float) -> Tensor:
    """Labels `[1, A]`: 0 but for some."""
    labels = torch.zeros(1, len(renderer.shares))
    for name, value in values.items():
        labels[0, list(renderer.shares).index(name)] = value
    return labels


class Drawn:
    """Pictures and masks of some labels.

    Args:
        renderer: Draws them.
        rows: Labels by name, one dict a picture; or labels `[N, A]`.
        resolution: R.

    Attributes:
        pictures: float `[N, 3, R, R]`.
        masks: `[N, R, R]`.
    """

    def __init__(
        self, renderer: Renderer, rows: Sequence[dict[str, float]] | Tensor, *, resolution: int = 64
    ) -> None:
        if not isinstance(rows, Tensor):
            rows = torch.cat([row(renderer, **values) for values in rows])
        self.classes, self.labels = (
            renderer.mask_classes,
            dict(zip(renderer.shares, rows.T, strict=True)),
        )
        pictures, self.masks = renderer.render(rows, resolution=resolution)
        self.pictures = pictures.float()
        self.brightness = self.pictures.flatten(1).mean(1)

    def where(self, name: str) -> Tensor:
        """Which pixels are of a class."""
        return self.masks == self.classes.index(name)

    def shares(self, name: str) -> Tensor:
        """Share of each picture that is of a class."""
        return self.where(name).flatten(1).float().mean(1)

    def top(self, name: str) -> Tensor:
        """First row of each picture that has a pixel of a class."""
        return self.where(name).any(2).int().argmax(1)

    def middle(self, name: str) -> Tensor:
        """Mean column of a class in each picture."""
        found = self.where(name).float().sum(1)
        return (found * torch.arange(found.shape[-1])).sum(1) / found.sum(1)

    def colour(self, name: str) -> Tensor:
        """Mean red, green, blue of a class in each picture, `[N, 3]`."""
        areas = zip(self.pictures, self.where(name), strict=True)
        return torch.stack([picture[:, area].mean(1) for picture, area in areas])

    def same_masks(self) -> bool:
        """Whether nothing has moved from picture to picture."""
        return bool((self.masks == self.masks[0]).all())
