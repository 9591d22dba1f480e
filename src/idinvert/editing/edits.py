"""Edits of inverted codes: manipulation, interpolation and style mixing (Sec. 4.3)."""

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from idinvert.annotations import Unit
from idinvert.editing.directions import Direction, check_direction
from idinvert.errors import ConfigError

UNITS = get_args(Unit)
AUTHORS_FIRST = 10 / 14
"""The authors' style mixing replaces layers 10 to 13 of 14."""


def manipulate(
    codes: Tensor,
    direction: Direction,
    alphas: Sequence[float] | Tensor,
    *,
    layers: Sequence[int] | None = None,
    unit: Unit = "length",
) -> Tensor:
    """Add α·n to the codes, for every step α.

    The step is relative: the codes' own projection on n is kept. Source: Eq. (5).

    Args:
        codes: z_inv, float [N, L, w_dim].
        direction: n, unit rows.
        alphas: the S steps.
        layers: the layers to move; None for the direction's own, or all if it has none.
        unit: unit of the steps: "length", the direction's length 1; or "sigma", the standard
            deviation along it, for directions that store it (GANSpace).

    Returns:
        Edited codes, [N, S, L, w_dim].

    Raises:
        CheckpointError: the direction does not match the codes.
        ConfigError: a layer does not exist, or the direction has no sigma.
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
    """Return the standard deviation along a direction, one value per row: float64 [K, 1].

    Raises:
        ConfigError: the direction does not store it.
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


def inner_steps(count: int) -> list[float]:
    """Return the weights of `count` images between two others: 1/(count + 1), 2/(count + 1), …"""
    return [k / (count + 1) for k in range(1, count + 1)]


def interpolate(a: Tensor, b: Tensor, alphas: Sequence[float] | Tensor) -> Tensor:
    """Return the codes (1 − α)·a + α·b in W+.

    Args:
        a, b: codes of the two images of every pair, float [N, L, w_dim].
        alphas: the S weights of b.

    Returns:
        [N, S, L, w_dim]; α = 0 gives a, α = 1 gives b.

    Raises:
        ConfigError: a and b have different shapes.
    """
    if a.shape != b.shape:
        raise ConfigError(
            f"cannot interpolate between codes {list(a.shape)} and {list(b.shape)}: expected equal "
            "shapes, from the same generator"
        )
    alpha = torch.as_tensor(alphas, dtype=a.dtype, device=a.device)[None, :, None, None]
    return torch.lerp(a[:, None], b[:, None], alpha)  # [N, S, L, w]


def first_style_layer(num_layers: int) -> int:
    """Return the first layer that is replaced, at the authors' share of the layers: 10 of 14."""
    return round(AUTHORS_FIRST * num_layers)


def mix_styles(content: Tensor, style: Tensor, *, first: int | None = None) -> Tensor:
    """Combine every content with every style: layers `first` and above come from the style.

    Args:
        content: codes float [N, L, w_dim].
        style: codes float [M, L, w_dim].
        first: the first layer replaced, 0 … L; None for `first_style_layer`.

    Returns:
        [N, M, L, w_dim].

    Raises:
        ConfigError: the codes have different shapes, or there is no such layer.
    """
    if content.shape[1:] != style.shape[1:]:
        raise ConfigError(
            f"cannot mix codes {list(content.shape)} and {list(style.shape)}: expected equal "
            "shapes, from the same generator"
        )
    layers = content.shape[1]
    first = first_style_layer(layers) if first is None else first
    if not 0 <= first <= layers:
        raise ConfigError(f"the first mixed layer is {first}: expected 0 to {layers}")
    upper = torch.arange(layers, device=content.device) >= first  # [L]
    return torch.where(upper[:, None], style[None], content[:, None])  # [N, M, L, w]
