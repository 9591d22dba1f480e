"""Distance of codes from the native codes of a generator's mapping, and from known codes."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from idinvert.errors import DataError

SMALLEST = 1e-6
"""Lower bound of a covariance's eigenvalues, as a fraction of their mean: a deviation in a
direction without native variance is large, but not infinite."""


@dataclass(frozen=True)
class NativeCodes:
    """The distribution of M(z) in each layer, used to compare each layer's w with native codes.

    Attributes:
        mean: float64 [L, w_dim]; L is 1 if M gives one w for all layers.
        whiten: float64 [L, w_dim, w_dim]; maps native codes to unit covariance in each layer.
        spread: variance of native codes, summed over w_dim, mean over layers.
        distances: float64 [M], of native samples held out from the estimates above.
        radii: float64 [M], the distances of the same samples from the mean.
    """

    mean: Tensor
    whiten: Tensor
    spread: float
    distances: Tensor
    radii: Tensor

    def distance(self, codes: Tensor) -> Tensor:
        """Return the squared Mahalanobis distance per dimension, mean over layers.

        Args:
            codes: float [N, L, w_dim].

        Returns:
            float64 [N], about 1 for native codes; infinite for codes that are not finite.
        """
        found = _distance(codes, self.mean, self.whiten)
        return found.nan_to_num(torch.inf, posinf=torch.inf)

    def radius(self, codes: Tensor) -> Tensor:
        """Return the distance from the native mean, 1 for the median native sample: float64 [N]."""
        found = _radius(codes, self.mean) / self.radii.median()
        return found.nan_to_num(torch.inf, posinf=torch.inf)

    def error(self, codes: Tensor, known: Tensor) -> Tensor:
        """Return the squared error of codes whose true value is known, relative to native variance.

        Args:
            codes: codes found by an inversion, float [N, L, w_dim].
            known: true codes of the same images, float [N, L, w_dim].

        Returns:
            float64 [N]: 0 for the true code, 1 on average for the mean code, 2 on average for an
            independent native code.
        """
        difference = codes.double() - known.double()
        return difference.square().sum(dim=2).mean(dim=1) / self.spread


def native_codes(samples: Iterable[Tensor], *, blocks: int) -> NativeCodes:
    """Estimate the distribution of native codes.

    Args:
        samples: blocks of codes, float [m, L, w_dim].
        blocks: number of first blocks used for mean and covariance; the others are held out.

    Raises:
        DataError: there are too few samples for a covariance, or they are all equal.
    """
    stream = iter(samples)
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    shift: Tensor | None = None  # near the mean, so that squares lose no precision
    for block in islice(stream, blocks):
        codes = block.double().cpu()
        shift = codes.mean(dim=0) if shift is None else shift
        moved = codes - shift  # [m, L, w_dim]
        count, total = count + len(moved), total + moved.sum(dim=0)
        squares = squares + torch.einsum("nli,nlj->lij", moved, moved)
    if shift is None or count <= shift.shape[1]:
        raise DataError(
            f"{count} native codes are too few for a covariance; expected more than w_dim"
        )
    offset = total / count
    covariance = (squares - count * offset[:, :, None] * offset[:, None]) / (count - 1)
    values, vectors = torch.linalg.eigh(covariance)  # [L, w_dim], [L, w_dim, w_dim]
    level = values.mean(dim=1, keepdim=True)
    if not (level > 0).all():
        raise DataError("the native codes of a layer are all the same: no distance is defined")
    whiten = vectors / values.clamp(min=SMALLEST * level).sqrt()[:, None]
    mean = shift + offset
    held = [(_distance(block, mean, whiten), _radius(block, mean)) for block in stream]
    if not held:
        raise DataError("no native codes are held out")
    distances, radii = (torch.cat(column) for column in zip(*held, strict=True))
    return NativeCodes(mean, whiten, values.sum(dim=1).mean().item(), distances, radii)


def _distance(codes: Tensor, mean: Tensor, whiten: Tensor) -> Tensor:
    centred = (codes.double().cpu() - mean).transpose(0, 1)  # [L, N, w_dim]
    return (centred @ whiten).square().mean(dim=2).mean(dim=0)


def _radius(codes: Tensor, mean: Tensor) -> Tensor:
    return (codes.double().cpu() - mean).square().sum(dim=2).mean(dim=1).sqrt()
