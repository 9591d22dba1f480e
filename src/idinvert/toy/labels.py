"""Labels by index: counter-based random numbers, a pure function of (seed, index, channel)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from idinvert.data.domain import Attribute

Kind = Literal["continuous", "binary"]

_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    """The int64 with the same 64 bits as `value`."""
    value &= _MASK
    return value - (1 << 64) if value >= (1 << 63) else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch shifts arithmetically)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that scatters 64 bits."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def uniform(indices: Tensor, *, channels: int, seed: int) -> Tensor:
    """Draws `channels` numbers for every index.

    Args:
        indices: int64 `[N]`; the draw of an index does not depend on its neighbours.
        channels: How many independent numbers an index gets.
        seed: Any Python integer.

    Returns:
        float64 `[N, channels]` in [0, 1).
    """
    indices = indices.to(torch.int64)
    key = _mix(torch.tensor(_signed(seed * _GOLDEN + 1), dtype=torch.int64, device=indices.device))
    row = _mix(_mix(indices * _GOLDEN + key)[:, None])  # [N, 1]
    column = torch.arange(1, channels + 1, device=indices.device) * _GOLDEN  # [channels]
    bits = _shift(_mix(row + column), 11)  # [N, channels], 53 bits
    return bits.to(torch.float64) * 2.0**-53


def attribute_list(named: Iterable[tuple[str, Kind]]) -> tuple[Attribute, ...]:
    """Attributes from pairs of name and kind."""
    return tuple(Attribute(name=name, kind=kind) for name, kind in named)


def index_of(attributes: Iterable[Attribute]) -> dict[str, int]:
    """Place of each attribute in the label vector, by name."""
    return {attribute.name: place for place, attribute in enumerate(attributes)}


def independent_labels(
    indices: Tensor,
    *,
    attributes: tuple[Attribute, ...],
    shares: Mapping[str, float],
    seed: int,
) -> Tensor:
    """Draws labels without any correlation; those of index i never depend on other indices.

    Args:
        indices: int64 `[N]`.
        attributes: The A labels.
        shares: How often a binary attribute is 1, for each of them.
        seed: Of the whole domain.

    Returns:
        float32 `[N, A]`: continuous uniform in [-1, 1), binary 0 or 1.
    """
    unit = uniform(indices, channels=len(attributes), seed=seed)
    columns = [
        unit[:, i] * 2.0 - 1.0
        if attribute.kind == "continuous"
        else (unit[:, i] < shares[attribute.name]).to(unit.dtype)
        for i, attribute in enumerate(attributes)
    ]
    return torch.stack(columns, dim=1).to(torch.float32)
