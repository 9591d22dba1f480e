"""Semantic manipulation: move codes along a direction (Sec. 4.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.editing.directions import Direction, check_direction
from idinvert.errors import ConfigError


def manipulate(
    codes: Tensor,
    direction: Direction,
    alphas: Sequence[float] | Tensor,
    *,
    layers: Sequence[int] | None = None,
) -> Tensor:
    """Add α·n to the codes, for every step α.

    The step is relative: nothing of the codes' own projection is taken away. Source: Eq. (5).

    Args:
        codes: z_inv, float [N, L, w_dim].
        direction: n, unit rows.
        alphas: the S steps, in units of the direction's length 1.
        layers: the layers to move; None for the direction's own, or all where it has none.

    Returns:
        Edited codes, [N, S, L, w_dim].

    Raises:
        CheckpointError: if the direction does not fit the codes.
        ConfigError: if a layer does not exist.
    """
    _, num_layers, w_dim = codes.shape
    check_direction(direction, num_layers=num_layers, w_dim=w_dim)
    chosen = direction.layers if layers is None else tuple(layers)
    if chosen is None:
        chosen = tuple(range(num_layers))
    if any(not 0 <= k < num_layers for k in chosen):
        raise ConfigError(
            f"editing.layers is {list(chosen)}: the generator has layers 0 to {num_layers - 1}"
        )
    n = torch.zeros(num_layers, w_dim, dtype=codes.dtype, device=codes.device)
    n[list(chosen)] = direction.vector.to(n).expand(num_layers, -1)[list(chosen)]
    alpha = torch.as_tensor(alphas, dtype=codes.dtype, device=codes.device)  # [S]
    return codes[:, None] + alpha[None, :, None, None] * n  # Eq. (5)
