"""Exponential moving average of a network, its half-life counted in images."""

import torch
from torch import nn


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
    for theirs, ours in zip(network.parameters(), average.parameters(), strict=True):
        ours.lerp_(theirs, 1.0 - decay)
    for source, target in zip(network.buffers(), average.buffers(), strict=True):
        target.copy_(source)
    return decay
