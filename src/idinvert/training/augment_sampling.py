"""Applies augmentations: moves and resamples images without aliasing, and changes their colours."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert.training.augment_maps import Augmentations

SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
"""Low-pass filter of the wavelet sym6; orthonormal to its own shifts by two."""
CENTRE = sum(k * tap for k, tap in enumerate(SYM6)) / math.sqrt(2)
"""Centre of mass of that filter, in taps."""


class Augmenter(nn.Module):
    """Applies augmentations to images; linear in the images and differentiable any number of times.

    An image whose pixels map onto pixels is moved exactly. Any other image is upsampled by two,
    sampled bilinearly at the source positions of a result twice as large, and downsampled. Both
    filters are sym6. The image is extended beyond its edges by repeated mirroring.

    Each filter is one matrix per side, which includes the mirroring and the phases. The product
    of the two matrices is the identity, because the filter is orthonormal.

    Args:
        resolution: Side length in pixels.

    Source:
        Karras et al. 2020 (arXiv 2006.06676), Appendix B.

    Differs from the paper:
        The plane is mirrored without end, where the paper pads by at most one image. Positions are
        measured from the filter's centre of mass, which is a fifth of a pixel away from the middle
        of its taps; otherwise a rotated image would be shifted by up to twice that. Images that are
        only mirrored, rotated by right angles or moved by whole pixels are not filtered.
    """

    up: Tensor
    down: Tensor

    def __init__(self, *, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.register_buffer("up", upsampling(resolution), persistent=False)
        self.register_buffer("down", downsampling(resolution), persistent=False)

    def forward(self, images: Tensor, augmentations: Augmentations) -> Tensor:
        """Augments images.

        Args:
            images: ``[N, 3, R, R]`` in [-1, 1].
            augmentations: One per image.

        Returns:
            ``[N, 3, R, R]``; changes of colour may leave [-1, 1].
        """
        plane = augmentations.plane.to(images.dtype).to(images.device)
        between = augmentations.resampled
        order = torch.cat([(~between).nonzero()[:, 0], between.nonzero()[:, 0]])  # stays on the CPU
        whole = int((~between).sum())
        first, second = (part.to(images.device) for part in (order[:whole], order[whole:]))
        moved = [self.move(images[first], plane[first])] if whole else []
        if whole < len(images):
            moved.append(self.resample(images[second], plane[second]))
        images = torch.cat(moved)[order.argsort().to(images.device)]
        colours = augmentations.colours.to(images.dtype).to(images.device)
        return recolour(images, colours)

    def move(self, images: Tensor, plane: Tensor) -> Tensor:
        """Moves pixels onto pixels, exactly.

        Args:
            images: ``[n, 3, R, R]``.
            plane: As in `Augmentations`, ``[n, 3, 3]``; only right angles and whole pixels.

        Returns:
            ``[n, 3, R, R]``.
        """
        middle, period = (self.resolution - 1) / 2, 2 * (self.resolution - 1)
        pixels = torch.arange(self.resolution, device=images.device) - middle
        shown = (places(plane, pixels.to(plane.dtype)) + middle).round().long() % period
        shown = torch.minimum(shown, period - shown)  # [n, R, R, 2], back in the image
        index = (shown[..., 1] * self.resolution + shown[..., 0]).flatten(1)  # [n, R * R]
        return images.flatten(2).gather(2, index[:, None].expand(-1, 3, -1)).view_as(images)

    def resample(self, images: Tensor, plane: Tensor) -> Tensor:
        """Samples images between their pixels.

        Args:
            images: ``[n, 3, R, R]``.
            plane: As in `Augmentations`, ``[n, 3, 3]``.

        Returns:
            ``[n, 3, R, R]``.
        """
        middle, period = (self.resolution - 1) / 2, 2 * (self.resolution - 1)
        up, down = self.up.to(images.dtype), self.down.to(images.dtype)
        samples = torch.arange(down.shape[1], device=images.device, dtype=images.dtype)
        shown = places(plane, (samples - CENTRE) / 2 - middle) + middle  # [n, M, M, 2], in pixels
        grid = (2 * shown + CENTRE) % (2 * period) / period - 1
        twice = up @ images @ up.t()  # [n, 3, 2 * period + 1, …]
        return down @ Bilinear.apply(twice, grid) @ down.t()


def places(plane: Tensor, at: Tensor) -> Tensor:
    """Applies affine maps to the points of a square grid.

    Args:
        plane: Homogeneous maps ``[n, 3, 3]``.
        at: Coordinates of the rows and of the columns, ``[M]``.

    Returns:
        ``[n, M, M, 2]``, the mapped x and y of each grid point.
    """
    x, y = at[None, :, None], at[:, None, None]
    columns = plane[:, None, None, :2, :].unbind(dim=-1)  # three of [n, 1, 1, 2]
    return columns[0] * x + columns[1] * y + columns[2]


def recolour(images: Tensor, colours: Tensor) -> Tensor:
    """Applies ``colours`` of `Augmentations` to images ``[N, 3, R, R]``."""
    return (colours[:, :, :3] @ images.flatten(2) + colours[:, :, 3:]).view_as(images)


def upsampling(resolution: int) -> Tensor:
    """Returns the matrix that doubles the samples of a row or column over one period of mirroring.

    Returns:
        float32 ``[2 * period + 1, R]``, with period 2 * (R - 1). Sample m lies at pixel
        (m - CENTRE) / 2; the last sample equals the first.
    """
    period = 2 * (resolution - 1)
    matrix = torch.zeros(2 * period + 1, resolution, dtype=torch.float64)
    for sample in range(2 * period + 1):
        for tap in range(sample % 2, len(SYM6), 2):
            pixel = (sample - tap) // 2 % period
            matrix[sample, min(pixel, period - pixel)] += math.sqrt(2) * SYM6[tap]
    return matrix.float()


def downsampling(resolution: int) -> Tensor:
    """Returns the matrix that reduces samples, placed as in `upsampling`, to a row or column.

    Returns:
        float32 ``[R, 2 * R + 10]``.
    """
    taps = torch.tensor(SYM6, dtype=torch.float64) / math.sqrt(2)
    matrix = torch.zeros(resolution, 2 * resolution + len(SYM6) - 2, dtype=torch.float64)
    for pixel in range(resolution):
        matrix[pixel, 2 * pixel : 2 * pixel + len(SYM6)] = taps
    return matrix.float()


class Bilinear(torch.autograd.Function):
    """``grid_sample`` with a second derivative, which PyTorch's own does not have; R1 needs it.

    Sampling is linear in the images: its gradient is its adjoint, whose gradient is sampling.
    """

    @staticmethod
    def forward(images: Tensor, grid: Tensor) -> Tensor:
        """Samples images ``[n, C, h, w]`` at ``grid [n, M, M, 2]`` in [-1, 1], aligned corners."""
        return F.grid_sample(images, grid, padding_mode="border", align_corners=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keeps the grid; the images are not needed."""
        images, grid = inputs
        ctx.save_for_backward(grid)
        ctx.size = images.shape[2:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Returns the gradient with respect to the images."""
        (grid,) = ctx.saved_tensors
        return BilinearAdjoint.apply(gradient, grid, ctx.size), None


class BilinearAdjoint(torch.autograd.Function):
    """The adjoint of `Bilinear`: adds values to the positions from which they were sampled."""

    @staticmethod
    def forward(values: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
        """Spreads values ``[n, C, M, M]`` over zeros ``[n, C, *size]``."""
        zeros = values.new_zeros(*values.shape[:2], *size)
        bilinear, border, corners = 0, 1, True
        spread, _ = torch.ops.aten.grid_sampler_2d_backward(
            values, zeros, grid, bilinear, border, corners, [True, False]
        )
        return spread

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Any], output: Tensor) -> None:
        """Keeps the grid."""
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Samples the gradient at the grid."""
        (grid,) = ctx.saved_tensors
        return Bilinear.apply(gradient, grid), None, None
