"""What the label vectors of procedural domains have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from idinvert.data.domain import Attribute
from idinvert.toy.counter import uniform

Kind = Literal["continuous", "binary"]


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
