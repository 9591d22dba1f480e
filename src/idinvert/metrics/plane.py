"""The plane in which sets of codes differ most, and the location of native codes in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.errors import DataError

INSIDE = 0.99
"""Fraction of native codes inside their contour."""


@dataclass(frozen=True)
class Plane:
    """The first two principal components of codes, with all layers as one vector.

    Attributes:
        mean: float64 [D], D = L · w_dim.
        axes: float64 [2, D], orthonormal; the largest entry of each is positive.
        share: fraction of the variance that lies in the plane.
    """

    mean: Tensor
    axes: Tensor
    share: float

    def places(self, codes: Tensor) -> Tensor:
        """Project codes [N, L, w_dim] onto the plane: float64 [N, 2]."""
        return (codes.double().flatten(1) - self.mean) @ self.axes.T

    def share_of(self, codes: Tensor) -> float:
        """Return the fraction of the variance of codes [N, L, w_dim] that lies in the plane."""
        centred = codes.double().flatten(1)
        centred = centred - centred.mean(dim=0)
        return ((centred @ self.axes.T).square().sum() / centred.square().sum()).item()


def principal_plane(sets: Sequence[Tensor]) -> Plane:
    """Run PCA on sets of codes [N, L, w_dim], all with the same weight.

    Raises:
        DataError: there are fewer than three codes, or all are equal.
    """
    codes = [one.double().flatten(1) for one in sets]
    mean = torch.stack([one.mean(dim=0) for one in codes]).mean(dim=0)
    rows = torch.cat([(one - mean) / len(one) ** 0.5 for one in codes])
    if len(rows) < 3 or not rows.any():
        raise DataError(f"{len(rows)} codes span no plane; expected three different ones or more")
    _, scales, axes = torch.linalg.svd(rows, full_matrices=False)
    axes = axes[:2]
    signs = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    variances = scales.square()
    return Plane(mean, axes * signs, (variances[:2].sum() / variances.sum()).item())


@dataclass(frozen=True)
class Contour:
    """The ellipse that contains 99 % of the native codes in a plane.

    Attributes:
        mean: float64 [2].
        root: float64 [2, 2]; root · (unit circle) is the ellipse about the mean.
    """

    mean: Tensor
    root: Tensor

    def outside(self, places: Tensor) -> Tensor:
        """Return which places [N, 2] lie outside: bool [N]."""
        return torch.linalg.solve(self.root, (places - self.mean).T).square().sum(dim=0) > 1

    def line(self, points: int = 181) -> Tensor:
        """Return points on the ellipse, float64 [points, 2]."""
        turn = torch.linspace(0, 2 * torch.pi, points, dtype=torch.float64)
        return self.mean + torch.stack([turn.cos(), turn.sin()], dim=1) @ self.root.T


def native_contour(places: Tensor) -> Contour:
    """Estimate the contour: its shape from half of the native places [N, 2], its size from others.

    The size is such that 99 % of the second half, which was not used for the shape, are inside.
    """
    half = len(places) // 2
    mean, root = places[:half].mean(dim=0), torch.linalg.cholesky(places[:half].T.cov())
    lengths = torch.linalg.solve(root, (places[half:] - mean).T).norm(dim=0)
    return Contour(mean, root * lengths.quantile(INSIDE))
