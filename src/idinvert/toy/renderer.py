"""Base of the procedural domains: labels from indices, and images and masks from labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from idinvert.data.domain import Attribute
from idinvert.toy.drawing import column

Columns = dict[str, Tensor]
"""One tensor for each attribute, by the attribute's name."""

_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Renderer:
    """A procedural domain: how its labels are drawn and its images rendered.

    Attributes:
        name: Name of the domain, for instance `faces_mini`.
        version: Increased whenever a pixel changes; part of caches and fingerprints.
        shares: The A labels, in order: None if continuous, the probability of 1 if binary.
        mask_classes: Names of the classes in the masks; the index is the value.
        draw: Draws one block from its labels, float64 `[B]` and float32 `[B, 1, 1]`, and the number
            of samples per side (two per pixel): uint8 images `[B, 3, R, R]` and masks `[B, R, R]`.
        correlated: Returns labels `[N]` that are not drawn independently, from those that are and
            from the uniform numbers behind them (`spare` belongs to no label), float64.
        drawn: Whether the split is a random draw, like LSUN's, or follows the index, like FFHQ's.
        degrees: Angle for a label of 1, for labels that are angles.
    """

    name: str
    version: int
    shares: Mapping[str, float | None]
    mask_classes: tuple[str, ...]
    draw: Callable[[Columns, Columns, int], tuple[Tensor, Tensor]]
    correlated: Callable[[Columns, Columns], Columns] | None = None
    drawn: bool = True
    degrees: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def attributes(self) -> tuple[Attribute, ...]:
        """The A labels in the order of the label vector."""
        return tuple(
            Attribute(name, "continuous" if share is None else "binary", self.degrees.get(name))
            for name, share in self.shares.items()
        )

    def sample_labels(self, indices: Tensor, *, seed: int) -> Tensor:
        """Draws labels; the labels of index i never depend on other indices.

        Args:
            indices: int64 `[N]`.
            seed: Seed of the whole domain.

        Returns:
            float32 `[N, A]`, in the order of `attributes`: continuous in [-1, 1], binary 0 or 1.
        """
        drawn = uniform(indices, channels=len(self.shares) + 1, seed=seed)
        unit = dict(zip((*self.shares, "spare"), drawn.T, strict=True))
        labels = dict(zip(self.shares, (drawn * 2.0 - 1.0).T, strict=False))
        for name, share in self.shares.items():
            if share is not None:
                labels[name] = (unit[name] < share).to(drawn.dtype)
        if self.correlated is not None:
            labels |= self.correlated(labels, unit)
        return torch.stack([values.to(torch.float32) for values in labels.values()], dim=1)

    def render(self, labels: Tensor, *, resolution: int) -> tuple[Tensor, Tensor]:
        """Draws images and masks, in blocks of a fixed size that are padded at the end.

        An image therefore does not depend on the others drawn with it.

        Args:
            labels: float `[N, A]` in the order of `attributes`.
            resolution: R, pixels.

        Returns:
            uint8 images `[N, 3, R, R]` and uint8 masks `[N, R, R]` of indices into
            `mask_classes`.

        Raises:
            ValueError: `labels` is not `[N, A]`.
        """
        count = len(self.shares)
        if labels.ndim != 2 or labels.shape[1] != count:
            raise ValueError(f"labels must be [N, {count}], got {list(labels.shape)}")
        n = labels.shape[0]
        block = 16 if resolution <= 64 else 8
        pictures = labels.new_empty((n, 3, resolution, resolution), dtype=torch.uint8)
        masks = labels.new_empty((n, resolution, resolution), dtype=torch.uint8)
        with torch.no_grad():
            for start in range(0, n, block):
                rows = labels[start : start + block].to(torch.float64)
                filled = rows.shape[0]
                rows = torch.cat([rows, rows[-1:].expand(block - filled, -1)])
                value = dict(zip(self.shares, rows.T, strict=True))
                p = {name: column(numbers) for name, numbers in value.items()}
                picture, mask = self.draw(value, p, 2 * resolution)
                pictures[start : start + filled] = picture[:filled]
                masks[start : start + filled] = mask[:filled]
        return pictures, masks


def uniform(indices: Tensor, *, channels: int, seed: int) -> Tensor:
    """Returns counter-based random numbers: a pure function of (seed, index, channel).

    Args:
        indices: int64 `[N]`; the draw of an index does not depend on its neighbours.
        channels: Number of independent numbers per index.
        seed: Any Python integer.

    Returns:
        float64 `[N, channels]` in [0, 1).
    """
    indices = indices.to(torch.int64)
    key = _mix(torch.tensor(_signed(seed * _GOLDEN + 1), dtype=torch.int64, device=indices.device))
    row = _mix(_mix(indices * _GOLDEN + key)[:, None])  # [N, 1]
    place = torch.arange(1, channels + 1, device=indices.device) * _GOLDEN  # [channels]
    bits = _shift(_mix(row + place), 11)  # [N, channels], 53 bits
    return bits.to(torch.float64) * 2.0**-53


def _signed(value: int) -> int:
    """Returns the int64 with the same 64 bits as `value`."""
    value &= _MASK
    return value - (1 << 64) if value >= (1 << 63) else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shifts int64 logically to the right (torch shifts arithmetically)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """Applies the finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection on 64 bits."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)
