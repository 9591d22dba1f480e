"""Laplacian pyramid of the sliced Wasserstein distance (5×5 binomial filter: 1 4 6 4 1 over 16)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.errors import DataError

COARSEST = 16


def pyramid_resolutions(resolution: int) -> list[int]:
    """Return the resolutions of the levels, finest first: halved while at least 16 px.

    Raises:
        DataError: the image is smaller than 16 px, or a level cannot be halved evenly.
    """
    if resolution < COARSEST:
        raise DataError(f"swd needs images of at least {COARSEST} px; got {resolution}")
    levels = [resolution]
    while levels[-1] // 2 >= COARSEST:
        if levels[-1] % 2:
            raise DataError(
                f"swd halves the image down to {COARSEST} px, but {resolution} px gives a level of "
                f"{levels[-1]} px; "
                "choose a resolution that is a power of two (key data.resolution)"
            )
        levels.append(levels[-1] // 2)
    return levels


def down(images: Tensor) -> Tensor:
    """Apply the 5×5 binomial filter, mirroring borders without the edge; keep every second pixel.

    Args:
        images: float `[N, C, H, W]`, H and W even.

    Returns:
        float `[N, C, H/2, W/2]`.
    """
    return _down(_down(images, dim=2), dim=3)


def up(images: Tensor) -> Tensor:
    """Insert zeros between pixels and apply four times `down`'s filter; doubles H and W."""
    return _up(_up(images, dim=2), dim=3)


def _down(images: Tensor, *, dim: int) -> Tensor:
    """Filter and halve one axis with sums of slices, much faster than a grouped convolution."""
    size = images.shape[dim]
    pad = (0, 0, 2, 2) if dim == 2 else (2, 2, 0, 0)
    even, odd = _alternate(F.pad(images, pad, mode="reflect"), dim=dim)
    half = size // 2
    # output pixel k depends on padded pixels 2k … 2k + 4: three even ones and two odd ones
    total = (even.narrow(dim, 0, half) + even.narrow(dim, 2, half)).mul_(1 / 16)
    total.add_(even.narrow(dim, 1, half), alpha=6 / 16)
    total.add_(odd.narrow(dim, 0, half), alpha=4 / 16)
    return total.add_(odd.narrow(dim, 1, half), alpha=4 / 16)


def _up(images: Tensor, *, dim: int) -> Tensor:
    """Double one axis: with zeros between, even pixels depend on three pixels, odd ones on two."""
    size = images.shape[dim]
    # mirrored with zeros between, the axis reads x[1], x[0], …, x[n-1], x[n-1]
    ends = (images.narrow(dim, 1, 1), images, images.narrow(dim, size - 1, 1))
    padded = torch.cat(ends, dim=dim)
    centre, after = padded.narrow(dim, 1, size), padded.narrow(dim, 2, size)
    even = (padded.narrow(dim, 0, size) + after).mul_(2 / 16).add_(centre, alpha=12 / 16)
    odd = (centre + after).mul_(8 / 16)
    shape = list(images.shape)
    shape[dim] *= 2
    return torch.stack((even, odd), dim=dim + 1).view(shape)


def _alternate(images: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    """Return the pixels of even and of odd index along an axis."""
    if dim == 2:
        return images[:, :, ::2], images[:, :, 1::2]
    return images[..., ::2], images[..., 1::2]


def laplacian_level(images: Tensor, level: int, *, resolutions: Sequence[int]) -> Tensor:
    """Return one level of the pyramid; the last is the Gaussian residue.

    Args:
        images: float `[N, C, R, R]`.
        level: index into `resolutions`, 0 the finest.
        resolutions: from `pyramid_resolutions`.

    Returns:
        float `[N, C, r, r]` with r = resolutions[level].
    """
    gaussian = images
    for _ in range(level):
        gaussian = down(gaussian)
    if level == len(resolutions) - 1:
        return gaussian
    return gaussian - up(down(gaussian))
