"""The distance between codes: the regulariser of Eq. 4 and the conventional encoder's Eq. 1."""

from torch import Tensor


def code_loss(z: Tensor, z2: Tensor) -> Tensor:
    """Mean squared difference of two batches of codes.

    Args:
        z: Codes ``[N, L, w_dim]`` (or ``[N, w_dim]``).
        z2: Codes of the same shape.

    Returns:
        ``[N]``, one mean over layers and dimensions for each image.

    Raises:
        ValueError: The shapes differ.

    Source:
        Eq. (1); third term of Eq. (4). The mean over elements is the authors' code.
    """
    if z.shape != z2.shape:
        raise ValueError(f"code loss: got shapes {tuple(z.shape)} and {tuple(z2.shape)}")
    return (z - z2).square().flatten(1).mean(1)  # Eq. (1), Eq. (4): ||z - E(G(z))||
