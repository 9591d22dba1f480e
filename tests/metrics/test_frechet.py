"""Fréchet and kernel distance through torch-fidelity against the formulas written out."""

import contextlib

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from idinvert.errors import DataError
from idinvert.metrics.frechet import ExtractorDistance


class TinyExtractor(nn.Module):
    """A linear map of pixels, with dropout that must be off."""

    def __init__(self, size: int = 8, dim: int = 5) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(3 * size * size, dim, generator=rng) / size)
        self.dropout = nn.Dropout(0.5)

    def embed(self, images: Tensor) -> Tensor:
        assert images.min() >= -1
        assert images.max() <= 1
        return self.dropout(images.flatten(1) @ self.weight)


def images(n: int, *, seed: int, low: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(low, 256, (n, 3, 8, 8), generator=rng, dtype=torch.uint8)


def features(extractor: TinyExtractor, batch: Tensor) -> np.ndarray:
    scaled = (batch.float() / 127.5 - 1).flatten(1) @ extractor.weight
    return scaled.double().numpy()


def test_frechet_distance_is_the_formula_with_the_matrix_root():
    extractor, a, b = TinyExtractor(), images(60, seed=1), images(60, seed=2, low=100)
    x, y = features(extractor, a), features(extractor, b)
    covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    gap = x.mean(axis=0) - y.mean(axis=0)
    expected = gap @ gap + np.trace(covariances[0] + covariances[1] - 2 * root)
    got = ExtractorDistance(extractor, name="tiny").between(a, b)
    assert list(got) == ["fd_tiny"]
    assert got["fd_tiny"] == pytest.approx(expected, rel=1e-8)


def test_kernel_distance_is_the_unbiased_mmd_with_a_cubic_kernel():
    extractor, a, b = TinyExtractor(), images(12, seed=3), images(12, seed=4, low=80)
    x, y = features(extractor, a), features(extractor, b)
    n, dim = x.shape

    def kernel(u, v):
        return float((u @ v / dim + 1) ** 3)

    within = sum(
        kernel(z[i], z[j]) for z in (x, y) for i in range(n) for j in range(n) if i != j
    ) / (n * (n - 1))
    across = sum(kernel(x[i], y[j]) for i in range(n) for j in range(n)) / (n * n)
    got = ExtractorDistance(extractor, name="tiny", frechet=False, kernel=True).between(a, b)
    assert got == {"kd_tiny": pytest.approx(within - 2 * across, rel=1e-8)}


def test_equal_sets_are_at_distance_zero_and_batches_do_not_matter():
    extractor, a, b = TinyExtractor(), images(30, seed=5), images(30, seed=6)
    distance = ExtractorDistance(extractor, name="t")
    assert distance.between(a, a)["fd_t"] == pytest.approx(0, abs=1e-6)
    whole = distance.between(a, b)["fd_t"]
    small = ExtractorDistance(extractor, name="t", batch_size=7).between(a, b)["fd_t"]
    assert small == pytest.approx(whole, rel=1e-5)
    # New images under an old name give a new number.
    assert distance.between(images(30, seed=9, low=128), b)["fd_t"] > 2 * whole


def test_the_extractor_is_left_as_it_was():
    for extractor in (TinyExtractor().train(), TinyExtractor(size=9).train()):
        with contextlib.suppress(RuntimeError):  # the second does not fit the images
            ExtractorDistance(extractor, name="tiny").between(images(4, seed=0), images(4, seed=1))
        assert extractor.training


def test_errors_say_what_was_got():
    distance = ExtractorDistance(TinyExtractor(), name="tiny")
    with pytest.raises(DataError, match=r"sets of equal size; got 3 outputs and 4 real"):
        distance.between(images(3, seed=0), images(4, seed=1))
    with pytest.raises(DataError, match=r"reals is torch\.float32"):
        distance.between(images(4, seed=0), images(4, seed=1).float())
    with pytest.raises(DataError, match=r"at least two images; outputs holds 1"):
        distance.between(images(1, seed=0), images(1, seed=1))
