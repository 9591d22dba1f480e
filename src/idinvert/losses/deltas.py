"""The regulariser that keeps a code's layers together (e4e)."""

from torch import Tensor


def delta_loss(codes: Tensor) -> Tensor:
    """Sum over layers of how far each layer's code is from the first layer's.

    Args:
        codes: ``[N, K, w_dim]``: the layers that may differ from the first, and the first itself.

    Returns:
        ``[N]``: sum over i of ||w_i - w_0||, the Euclidean norm, not its square.

    Source:
        L_d-reg of Tov et al. 2021 (arXiv 2102.02766).
    """
    deltas = codes[:, 1:] - codes[:, :1]  # [N, K - 1, w_dim]
    # vector_norm's gradient at zero, where every delta starts, is zero and not NaN.
    return deltas.norm(dim=2).sum(1)
