"""The pixel term of Eq. 2 and Eq. 4."""

from torch import Tensor


def pixel_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of two batches of images.

    Args:
        x: Images ``[N, 3, H, W]`` in [-1, 1].
        y: Images of the same shape.

    Returns:
        ``[N]``, one mean over channels and pixels for each image.

    Raises:
        ValueError: The shapes differ.

    Source:
        First term of Eq. (2) and Eq. (4); the mean over pixels and channels is the authors' code.
    """
    if x.shape != y.shape:
        raise ValueError(f"pixel loss: got shapes {tuple(x.shape)} and {tuple(y.shape)}")
    return (x - y).square().flatten(1).mean(1)  # Eq. (2), Eq. (4): ||x - G(z)||
