"""What the backbones of E share: strides for any resolution, initialisation, memory layout."""

import math

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.networks.batch_norm import batch_norm

SMALLEST = 4


def halvings(resolution: int) -> int:
    """How often the side is halved from `resolution` down to 4.

    Args:
        resolution: Side of the images.

    Raises:
        ConfigError: It is no power of two from 8 up.
    """
    if resolution < 2 * SMALLEST or resolution & (resolution - 1):
        raise ConfigError(
            f"encoder: got resolution {resolution}, expected a power of two from "
            f"{2 * SMALLEST} up; change data.resolution"
        )
    return int(math.log2(resolution // SMALLEST))


def kept_strides(resolution: int, *, places: int) -> tuple[list[int], int]:
    """Strides of a classifier's halving places, first to last, and how many must be added.

    Classifiers halve at a fixed number of places, early ones first. Where the images are smaller
    than that takes, the *earliest* places keep their resolution (as ResNets for 32 px images do);
    where they are larger, further halvings follow behind the last.

    Args:
        resolution: Side of the images.
        places: Places at which the architecture halves the side.

    Returns:
        ``places`` strides of 1 or 2, and the number of halvings that remain after them.

    Raises:
        ConfigError: As `halvings`.
    """
    count = halvings(resolution)
    dropped = max(0, places - count)
    return [1] * dropped + [2] * (places - dropped), max(0, count - places)


def zero_residual_branches(branches: list[nn.Conv2d]) -> None:
    """Residual branches that start at zero: without normalisation, depth would blow values up."""
    for conv in branches:
        nn.init.zeros_(conv.weight)


def he_initialise(module: nn.Module) -> None:
    """He's initialisation of every convolution below ``module``, as the classifiers have it."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def named_norm(channels: int, *, norm: str) -> nn.Module:
    """`batch_norm` with gamma, called as torchvision calls its ``norm_layer``."""
    return batch_norm(channels=channels, norm=norm, scale=True)


def in_fastest_layout(images: Tensor) -> Tensor:
    """The images as the convolutions of an encoder or of F take them fastest.

    On the CPU that is channels_last, which all that follows keeps: pooling and batch normalisation
    then take a third of their time, convolutions up to a third less. Elsewhere they stay as they
    are.

    Args:
        images: ``[N, C, H, W]``.

    Returns:
        The same numbers.
    """
    if images.device.type != "cpu":
        return images
    return images.contiguous(memory_format=torch.channels_last)
