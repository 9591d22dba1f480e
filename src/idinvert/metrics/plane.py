"""The plane in which sets of codes differ most, and where native codes lie in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.errors import DataError

INSIDE = 0.99
"""Share of native codes inside their contour."""


@dataclass(frozen=True)
class Plane:
    """Two principal components of codes, all layers as one vector.

    Attributes:
        mean: float64 [D], D = L · w_dim.
        axes: float64 [2, D], orthonormal; the largest entry of each is positive.
        share: of the variance that lies in the plane.
    """

    mean: Tensor
    axes: Tensor
    share: float

    def places(self, codes: Tensor) -> Tensor:
        """Codes [N, L, w_dim] in the plane: float64 [N, 2]."""
        return (codes.double().flatten(1) - self.mean) @ self.axes.T

    def share_of(self, codes: Tensor) -> float:
        """How much of the variance of some codes [N, L, w_dim] about their mean is in the plane."""
        centred = codes.double().flatten(1)
        centred = centred - centred.mean(dim=0)
        return ((centred @ self.axes.T).square().sum() / centred.square().sum()).item()


def principal_plane(sets: Sequence[Tensor]) -> Plane:
    """PCA of sets of codes [N, L, w_dim], each of the same weight.

    Raises:
        DataError: fewer than three codes, or all are the same.
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
    """The ellipse that holds 99 % of the native codes in a plane.

    Attributes:
        mean: float64 [2].
        root: float64 [2, 2]; root · (unit circle) is the ellipse about the mean.
    """

    mean: Tensor
    root: Tensor

    def outside(self, places: Tensor) -> Tensor:
        """Which places [N, 2] lie outside: bool [N]."""
        return torch.linalg.solve(self.root, (places - self.mean).T).square().sum(dim=0) > 1

    def line(self, points: int = 181) -> Tensor:
        """The ellipse, float64 [points, 2]."""
        turn = torch.linspace(0, 2 * torch.pi, points, dtype=torch.float64)
        return self.mean + torch.stack([turn.cos(), turn.sin()], dim=1) @ self.root.T


def native_contour(places: Tensor) -> Contour:
    """Estimate the contour: its shape from half of the native places [N, 2], its size
    from the others.

    The size is such that 99 % of the other half, which the shape does not know, are inside.
    """
    half = len(places) // 2
    mean, root = places[:half].mean(dim=0), torch.linalg.cholesky(places[:half].T.cov())
    lengths = torch.linalg.solve(root, (places[half:] - mean).T).norm(dim=0)
    return Contour(mean, root * lengths.quantile(INSIDE))
