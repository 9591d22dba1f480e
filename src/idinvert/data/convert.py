"""Conversion of uint8 pixels to floats in [-1, 1], and back; done only here."""

import torch
from torch import Tensor

from idinvert.errors import DivergenceError


def to_float(images: Tensor) -> Tensor:
    """Scales uint8 pixels to floats.

    Args:
        images: uint8 `[..., H, W]`, 0 to 255.

    Returns:
        float32 of the same shape, range [-1, 1]: 0 becomes -1, 255 becomes 1.

    Raises:
        TypeError: `images` is not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"to_float expects uint8 images, got {images.dtype}")
    return images.to(torch.float32) / 127.5 - 1.0


def to_uint8(images: Tensor, *, finite: str | None = None) -> Tensor:
    """Clamps floats to [-1, 1] and rounds them to the nearest uint8 pixel.

    Args:
        images: floating point `[..., H, W]`, nominal range [-1, 1].
        finite: name of the source of the images, if NaN and infinity are errors; None otherwise.

    Returns:
        uint8 of the same shape.

    Raises:
        TypeError: `images` is not floating point.
        DivergenceError: `finite` is given, and a number is NaN or infinite.
    """
    if not images.is_floating_point():
        raise TypeError(f"to_uint8 expects floating point images, got {images.dtype}")
    if finite is not None and not images.isfinite().all():
        raise DivergenceError(
            f"{finite} gave images with numbers that are not finite, which no metric of a set may "
            "hold; its weights are damaged or beyond the range of float32 (generator.path)"
        )
    return (images.float().clamp(-1.0, 1.0) * 127.5 + 127.5).round().to(torch.uint8)
