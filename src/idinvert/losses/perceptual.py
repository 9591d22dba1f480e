"""The perceptual term of Eq. 2 and Eq. 4."""

from torch import Tensor


def feature_loss(f_x: Tensor, f_y: Tensor) -> Tensor:
    """Mean squared difference of two batches of features.

    Args:
        f_x: Features ``[N, C, h, w]`` of the targets.
        f_y: Features of the same shape of the reconstructions.

    Returns:
        ``[N]``, one mean over all feature elements for each image.

    Raises:
        ValueError: The shapes differ.

    Source:
        Second term of Eq. (2) and Eq. (4); the mean over elements is the authors' code.
    """
    if f_x.shape != f_y.shape:
        raise ValueError(f"feature loss: got shapes {tuple(f_x.shape)} and {tuple(f_y.shape)}")
    return (f_x - f_y).square().flatten(1).mean(1)  # Eq. (2), Eq. (4): ||F(x) - F(G(z))||
