"""Laplacian pyramid of the sliced Wasserstein distance (5×5 binomial filter, mirrored borders)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.errors import DataError

BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
COARSEST = 16


def pyramid_resolutions(resolution: int) -> list[int]:
    """Resolutions of the levels, finest first: halved while at least 16 px.

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


def smooth(images: Tensor) -> Tensor:
    """Binomial 5×5 filter, separable; borders are mirrored without repeating the edge.

    Args:
        images: float `[N, C, H, W]`.

    Returns:
        float `[N, C, H, W]`.
    """
    taps = torch.tensor(BINOMIAL, dtype=images.dtype, device=images.device)
    channels = images.shape[1]
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    rows = F.conv2d(padded, taps.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)
    return F.conv2d(rows, taps.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)


def down(images: Tensor) -> Tensor:
    """Smooth and keep every second pixel: `[N, C, H, W]` to `[N, C, H/2, W/2]`."""
    return smooth(images)[:, :, ::2, ::2]


def up(images: Tensor) -> Tensor:
    """Put zeros between the pixels and smooth, ×4: `[N, C, H, W]` to `[N, C, 2H, 2W]`."""
    n, channels, height, width = images.shape
    spread = images.new_zeros(n, channels, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = images
    return 4 * smooth(spread)


def laplacian_level(images: Tensor, level: int, *, resolutions: Sequence[int]) -> Tensor:
    """One level of the pyramid; the last is the Gaussian residue.

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
