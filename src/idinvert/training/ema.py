"""Exponential moving average of a network, its half-life counted in images."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_ema(
    average: nn.Module,
    network: nn.Module,
    *,
    batch_size: int,
    nimg: int,
    half_life_nimg: float,
    rampup: float | None = 0.05,
) -> float:
    """Moves ``average`` towards ``network``.

    Args:
        average: The copy that is shipped (the paper's frozen G is this copy).
        network: The network that is trained.
        batch_size: Images of this step, over all ranks.
        nimg: Images seen before this step.
        half_life_nimg: Images after which an old weight counts half.
        rampup: The half-life is at most this share of the images seen; ``None`` switches it off.

    Returns:
        The decay that was used.
    """
    half_life = half_life_nimg
    if rampup is not None:
        half_life = min(half_life, rampup * (nimg + batch_size))
    decay = 0.5 ** (batch_size / max(half_life, 1e-8))
    # All tensors in a few launches: on a GPU one a tensor takes longer than the sums.
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)
    if copies := list(average.buffers()):
        torch._foreach_copy_(copies, list(network.buffers()))
    return decay
