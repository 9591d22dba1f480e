"""What tests of procedural domains share: labels by name, and areas of classes."""

import torch
from torch import Tensor

from idinvert.toy.renderer import Renderer


def row(renderer: Renderer, **values: float) -> Tensor:
    """Labels `[1, A]`: 0 but for some."""
    names = [attribute.name for attribute in renderer.attributes]
    labels = torch.zeros(1, len(names))
    for name, value in values.items():
        labels[0, names.index(name)] = value
    return labels


def drawn(renderer: Renderer, *rows: dict[str, float], resolution: int) -> tuple[Tensor, Tensor]:
    """Pictures as float and masks, one a dict of labels."""
    labels = torch.cat([row(renderer, **values) for values in rows])
    pictures, masks = renderer.render(labels, resolution=resolution)
    return pictures.float(), masks


def where(renderer: Renderer, masks: Tensor, name: str) -> Tensor:
    """Which pixels are of a class."""
    return masks == renderer.mask_classes.index(name)


def shares(renderer: Renderer, masks: Tensor, name: str) -> list[float]:
    """Share of each picture that is of a class."""
    return where(renderer, masks, name).flatten(1).float().mean(1).tolist()


def top(renderer: Renderer, masks: Tensor, name: str) -> list[int]:
    """First row of each picture that has a pixel of a class."""
    rows = where(renderer, masks, name).any(2)
    return [int(torch.nonzero(one)[0]) for one in rows]


def middle(renderer: Renderer, masks: Tensor, name: str) -> list[float]:
    """Mean column of a class in each picture."""
    columns = torch.arange(masks.shape[-1], dtype=torch.float32)
    found = where(renderer, masks, name).float().sum(1)
    return ((found * columns).sum(1) / found.sum(1)).tolist()


def colour(renderer: Renderer, pictures: Tensor, masks: Tensor, name: str) -> list[Tensor]:
    """Mean red, green, blue of a class in each picture."""
    areas = where(renderer, masks, name)
    return [p[:, area].mean(1) for p, area in zip(pictures, areas, strict=True)]
