"""The plane of codes against numpy's eigenvectors, and the contour against exact Gaussians."""

import numpy as np
import pytest
import torch

from idinvert.errors import DataError
from idinvert.metrics.plane import native_contour, principal_plane


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_plane_is_that_of_numpy():
    sets = [normal(40, 3, 4) * 2, normal(10, 3, 4, seed=1) + 3]
    plane = principal_plane(sets)
    rows = [one.flatten(1).numpy() for one in sets]
    mean = np.mean([one.mean(axis=0) for one in rows], axis=0)
    covariance = sum((one - mean).T @ (one - mean) / len(one) for one in rows)
    values, vectors = np.linalg.eigh(covariance)
    for axis, vector in zip(plane.axes.numpy(), vectors.T[::-1], strict=False):
        sign = np.sign(vector[np.abs(vector).argmax()])
        np.testing.assert_allclose(axis, sign * vector, atol=1e-10)
    assert plane.share == pytest.approx(values[-2:].sum() / values.sum())
    np.testing.assert_allclose(
        plane.places(sets[1]).numpy(), (rows[1] - mean) @ plane.axes.numpy().T, atol=1e-10
    )
    first = np.cov(rows[0].T, bias=True)
    inside = np.trace(plane.axes.numpy() @ first @ plane.axes.numpy().T) / np.trace(first)
    assert plane.share_of(sets[0]) == pytest.approx(inside)


def test_flat_sets_and_weights():
    flat = torch.zeros(5, 2, 3, dtype=torch.float64)
    flat[:, 0, 1], flat[:, 1, 2] = torch.arange(5.0), torch.tensor([1.0, -1, 1, -1, 0])
    assert principal_plane([flat]).share == pytest.approx(1)
    once, thrice = (principal_plane([flat, normal(4, 2, 3).repeat(k, 1, 1)]) for k in (1, 3))
    torch.testing.assert_close(once.axes, thrice.axes)  # a set weighs what it weighs
    for bad in (flat[:2], flat[:1].repeat(5, 1, 1)):
        with pytest.raises(DataError, match="span no plane"):
            principal_plane([bad])


def test_the_contour_holds_99_in_100():
    spread = torch.tensor([[3.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    places = normal(20_000, 2) @ spread + 5
    contour = native_contour(places)
    fresh = normal(20_000, 2, seed=1) @ spread + 5
    assert contour.outside(fresh).double().mean().item() == pytest.approx(0.01, abs=0.003)
    assert contour.outside(places[10_000:]).sum() == 100
    inverse = torch.linalg.inv(spread.T @ spread)
    line = contour.line() - 5
    lengths = torch.einsum("ni,ij,nj->n", line, inverse, line)
    assert lengths.mean().item() == pytest.approx(-2 * np.log(0.01), rel=0.05)
