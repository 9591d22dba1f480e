"""What keeps optimised noise maps noise: no correlation between neighbours, at any scale."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST = 8


def noise_regulariser(maps: Sequence[Tensor]) -> Tensor:
    """Squared correlation of each map with itself shifted by one, down a pyramid to 8 px.

    Args:
        maps: noise maps, each [N, 1, h, w], h = w.

    Returns:
        [N], summed over maps, scales and both directions.

    Source: Karras et al. 2020 (arXiv 1912.04958), App. D.
    """
    total = maps[0].new_zeros(len(maps[0]))
    for noise in maps:
        while True:
            for dim in (2, 3):
                shifted = torch.roll(noise, shifts=1, dims=dim)
                total = total + (noise * shifted).mean((1, 2, 3)).square()
            if noise.shape[2] <= _SMALLEST:
                break
            noise = functional.avg_pool2d(noise, 2)
    return total


def normalised(noise: Tensor) -> Tensor:
    """A map [N, 1, h, w] with mean 0 and mean square 1, image by image."""
    noise = noise - noise.mean((1, 2, 3), keepdim=True)
    return noise * noise.square().mean((1, 2, 3), keepdim=True).rsqrt()
