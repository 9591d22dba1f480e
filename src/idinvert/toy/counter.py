"""Counter-based random numbers: a pure function of (seed, index, channel), no state at all."""

from __future__ import annotations

import torch
from torch import Tensor

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
