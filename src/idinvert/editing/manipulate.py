"""Semantic manipulation: move codes along a direction (Sec. 4.3)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from idinvert.editing.directions import Direction, check_direction
from idinvert.errors import ConfigError

Unit = Literal["length", "sigma"]
UNITS = get_args(Unit)


def manipulate(
    codes: Tensor,
    direction: Direction,
    alphas: Sequence[float] | Tensor,
    *,
    layers: Sequence[int] | None = None,
    unit: Unit = "length",
) -> Tensor:
    """Add α·n to the codes, for every step α.

    The step is relative: nothing of the codes' own projection is taken away. Source: Eq. (5).

    Args:
        codes: z_inv, float [N, L, w_dim].
        direction: n, unit rows.
        alphas: the S steps.
        layers: the layers to move; None for the direction's own, or all where it has none.
        unit: of the steps: "length", the direction's own length 1; or "sigma", the standard
            deviation along it, for directions that know theirs (GANSpace).

    Returns:
        Edited codes, [N, S, L, w_dim].

    Raises:
        CheckpointError: if the direction does not fit the codes.
        ConfigError: if a layer does not exist, or the direction does not know its sigma.
    """
    _, num_layers, w_dim = codes.shape
    check_direction(direction, num_layers=num_layers, w_dim=w_dim)
    chosen = direction.layers if layers is None else tuple(layers)
    if chosen is None:
        chosen = tuple(range(num_layers))
    if any(not 0 <= k < num_layers for k in chosen):
        raise ConfigError(
            f"task.layers is {list(chosen)}: the generator has layers 0 to {num_layers - 1}"
        )
    n = torch.zeros(num_layers, w_dim, dtype=codes.dtype, device=codes.device)
    vector = direction.vector.to(n)
    if unit == "sigma":
        vector = vector * sigma_of(direction).to(n)
    n[list(chosen)] = vector.expand(num_layers, -1)[list(chosen)]
    alpha = torch.as_tensor(alphas, dtype=codes.dtype, device=codes.device)  # [S]
    return codes[:, None] + alpha[None, :, None, None] * n  # Eq. (5)


def sigma_of(direction: Direction) -> Tensor:
    """The standard deviation along a direction, a number a row: float64 [K, 1].

    Raises:
        ConfigError: the direction does not know it.
    """
    sigma = direction.provenance.get("sigma")
    if sigma is None:
        raise ConfigError(
            f"direction {direction.name!r} does not know how far codes spread along it: expected "
            "provenance.sigma, as GANSpace's directions have (task.directions=ganspace); or take "
            "task.unit=length"
        )
    column = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1)
    if len(column) not in (1, len(direction.vector)):
        raise ConfigError(
            f"direction {direction.name!r} has {len(direction.vector)} rows and {len(column)} "
            "sigmas: expected one a row"
        )
    return column
