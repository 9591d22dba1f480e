"""What can be seen in an image without any network: named colours, and edges by direction."""

import torch
from torch import Tensor

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
"""The eleven basic colour terms of English, and an sRGB colour that each of them names."""
EDGES = ("vertical edge", "horizontal edge")
STEEP = 0.1
"""Luma per pixel, in [0, 1], from which on there is an edge."""
_LUMA = (0.299, 0.587, 0.114)


def colour_masks(images: Tensor) -> Tensor:
    """Which pixels have which colour: the nearest of `COLOURS` in sRGB.

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
    """Where luma changes by `STEEP` or more a pixel, by the edge's direction.

    Central differences; the border has none.

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
