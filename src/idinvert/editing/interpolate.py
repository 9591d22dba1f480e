"""Linear interpolation between inverted codes (Sec. 4.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.errors import ConfigError


def inner_steps(count: int) -> list[float]:
    """The weights of `count` images strictly between two others: 1/(count + 1), 2/(count + 1), …"""
    return [k / (count + 1) for k in range(1, count + 1)]


def interpolate(a: Tensor, b: Tensor, alphas: Sequence[float] | Tensor) -> Tensor:
    """The codes (1 − α)·a + α·b over all of W+.

    Args:
        a, b: codes of the two images of every pair, float [N, L, w_dim].
        alphas: the S weights of b.

    Returns:
        [N, S, L, w_dim]; α = 0 gives a, α = 1 gives b.

    Raises:
        ConfigError: if a and b differ in shape.
    """
    if a.shape != b.shape:
        raise ConfigError(
            f"cannot interpolate between codes {list(a.shape)} and {list(b.shape)}: expected equal "
            "shapes, from the same generator"
        )
    alpha = torch.as_tensor(alphas, dtype=a.dtype, device=a.device)[None, :, None, None]
    return torch.lerp(a[:, None], b[:, None], alpha)  # [N, S, L, w]
