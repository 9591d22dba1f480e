"""The order in which images lie in memory."""

import torch
from torch import Tensor


def laid_out(images: Tensor) -> Tensor:
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
