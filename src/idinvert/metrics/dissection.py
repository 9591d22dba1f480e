"""Thresholds, overlaps and scores that measure whether units follow concepts (Bau et al. 2019)."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Fractions of positions at which a unit counts as active; the first is the published one."""
_MOST = 2**25  # maximum number of upsampled feature values at once


def thresholds(values: Tensor, shares: tuple[float, ...] = SHARES) -> Tensor:
    """Return the level above which each fraction of a unit's activations lies.

    Args:
        values: activations [U, P].
        shares: T numbers in (0, 1).

    Returns:
        [T, U]; the quantiles 1 − share, interpolated linearly between neighbours.
    """
    ordered = values.sort(dim=1).values
    places = torch.tensor([(1 - share) * (values.shape[1] - 1) for share in shares])
    low = places.floor().long().clamp(max=max(0, values.shape[1] - 2))
    high = (low + 1).clamp(max=values.shape[1] - 1)
    part = (places - low).to(ordered)[:, None]
    return torch.lerp(ordered.T[low], ordered.T[high], part)


def overlaps(features: Tensor, levels: Tensor, concepts: Tensor) -> tuple[Tensor, Tensor]:
    """Count the pixels where a unit is active, and those where a concept is also present.

    The features are first upsampled bilinearly to the image size.

    Args:
        features: [N, U, h, w].
        levels: thresholds [T, U].
        concepts: bool [N, K, R, R].

    Returns:
        Pixels of both, float64 [T, U, K]; active pixels, float64 [T, U].
    """
    size, (count, units) = concepts.shape[-2:], features.shape[:2]
    both = torch.zeros(len(levels), units, concepts.shape[1], dtype=torch.float64)
    active = torch.zeros(len(levels), units, dtype=torch.float64)
    step = max(1, _MOST // (units * size[0] * size[1]))
    for first in range(0, count, step):
        maps = interpolate(features[first : first + step].float(), size=size, mode="bilinear")
        maps = maps.transpose(0, 1).flatten(1)  # [U, n R R]
        there = concepts[first : first + step].transpose(0, 1).flatten(1).float()  # [K, n R R]
        for t, level in enumerate(levels.to(maps)):
            on = (maps > level[:, None]).float()
            both[t] += (on @ there.T).double().cpu()
            active[t] += on.sum(1).double().cpu()
    return both, active


def unit_iou(both: Tensor, active: Tensor, there: Tensor) -> Tensor:
    """Return the intersection over union of a unit's active pixels and a concept's pixels.

    Args:
        both: [T, U, K].
        active: [T, U].
        there: number of pixels of each concept [K].

    Returns:
        [T, U, K]; 0 if there are neither.
    """
    return both / (active[..., None] + there - both).clamp(min=1)


def information_quality(both: Tensor, active: Tensor, there: Tensor, *, pixels: int) -> Tensor:
    """Return mutual information over joint entropy (iqr) of "active" and "there", in [0, 1].

    Args:
        both, active, there: see `unit_iou`.
        pixels: total number of pixels counted.

    Returns:
        [T, U, K]; 0 if the concept is no more frequent among active pixels than among all.

    Source:
        Bau et al. 2019 (arXiv 1811.10597), Sec. 3.1.
    """
    on, off = active[..., None].expand_as(both), pixels - active[..., None].expand_as(both)
    cells = torch.stack([both, on - both, there - both, off - (there - both)]) / pixels
    joint = -torch.xlogy(cells, cells).sum(0)
    alone = sum(-torch.xlogy(p, p) for p in (on / pixels, off / pixels, there / pixels))
    alone = alone - torch.xlogy(1 - there / pixels, 1 - there / pixels)
    follows = (joint > 0) & (both * pixels > on * there)
    return torch.where(follows, (alone - joint) / joint, torch.zeros_like(joint)).clamp(min=0)


COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (20, 20, 20),
    "grey": (128, 128, 128),
    "white": (240, 240, 240),
    "red": (200, 30, 30),
    "orange": (235, 135, 40),
    "yellow": (235, 220, 70),
    "green": (60, 150, 60),
    "blue": (50, 100, 200),
    "purple": (130, 60, 160),
    "pink": (240, 165, 175),
    "brown": (110, 70, 40),
}
"""The eleven basic colour terms of English, each with a typical sRGB colour."""
EDGES = ("vertical edge", "horizontal edge")
STEEP = 0.1
"""Minimum change of luma, in [0, 1], per pixel that counts as an edge."""
_LUMA = (0.299, 0.587, 0.114)


def colour_masks(images: Tensor) -> Tensor:
    """Return a mask for each colour: pixels belong to the nearest of `COLOURS` in sRGB.

    Args:
        images: uint8 [N, 3, H, W].

    Returns:
        bool [N, 11, H, W]; every pixel has one colour.
    """
    references = torch.tensor(list(COLOURS.values()), dtype=torch.float32, device=images.device)
    pixels = images.permute(0, 2, 3, 1).float()  # [N, H, W, 3]
    nearest = torch.cdist(pixels.flatten(0, 2), references).argmin(1)
    shown = torch.nn.functional.one_hot(nearest, len(COLOURS)).bool()
    return shown.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)


def edge_masks(images: Tensor) -> Tensor:
    """Return masks of pixels where luma changes by at least `STEEP` per pixel, by edge direction.

    Uses central differences; border pixels have no edges.

    Args:
        images: uint8 [N, 3, H, W].

    Returns:
        bool [N, 2, H, W], in the order of `EDGES`.
    """
    weights = torch.tensor(_LUMA, device=images.device).view(1, 3, 1, 1)
    luma = (images.float() / 255 * weights).sum(1)  # [N, H, W]
    across, down = torch.zeros_like(luma), torch.zeros_like(luma)
    across[:, :, 1:-1] = (luma[:, :, 2:] - luma[:, :, :-2]) / 2
    down[:, 1:-1] = (luma[:, 2:] - luma[:, :-2]) / 2
    steep = torch.hypot(across, down) >= STEEP
    upright = across.abs() >= down.abs()
    return torch.stack([steep & upright, steep & ~upright], dim=1)
