"""Confusion and IoU against counting with NumPy, pixel by pixel, and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics import confusion_matrix, jaccard_score

from idinvert.errors import DataError
from idinvert.metrics.frechet import frechet_distance
from idinvert.metrics.segmentation import class_areas, confusion, iou, segmentation_distance


def masks(seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 4, (3, 7, 5)).astype(np.uint8))


def test_confusion_and_iou_are_those_of_scikit_learn():
    a, b = masks(0), masks(1)
    found = confusion(a, b, classes=5)  # the last one never occurs
    flat = a.numpy().ravel(), b.numpy().ravel()
    assert found.dtype == torch.float64
    np.testing.assert_array_equal(found, confusion_matrix(*flat, labels=range(5)))
    expected = jaccard_score(*flat, labels=range(4), average=None)
    np.testing.assert_allclose(iou(found)[:4], expected, rtol=1e-12)
    assert iou(found)[4].isnan(), "a class that is nowhere has no IoU"


def test_images_add_up_and_leading_dimensions_stay():
    a, b = masks(2), masks(3)
    each = torch.stack([confusion(x[None], y[None], classes=4) for x, y in zip(a, b, strict=True)])
    assert torch.equal(each.sum(0), confusion(a, b, classes=4))
    assert iou(each).shape == (3, 4)
    assert torch.equal(iou(confusion(a, a, classes=4)), torch.ones(4, dtype=torch.float64))


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="do not fit together"):
        confusion(masks(0), masks(0)[:2], classes=4)
    with pytest.raises(DataError, match="outside 0 to 2"):
        confusion(masks(0), masks(1), classes=3)


def test_areas_are_shares_of_pixels_in_per_cent():
    found = class_areas(masks(0), classes=5)
    for row, mask in zip(found, masks(0).numpy(), strict=True):
        expected = [100 * (mask == c).mean() for c in range(5)]
        np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_the_segmentation_distance_is_scipy_s_and_its_parts_add_up():
    rng = np.random.default_rng(4)
    x = rng.dirichlet(np.ones(4), 30) * 100  # rows add up to 100: a singular covariance
    y = rng.dirichlet([3, 1, 1, 0.2], 40) * 100
    means, covariances = segmentation_distance(torch.from_numpy(x), torch.from_numpy(y))
    a, b = np.cov(x.T), np.cov(y.T)
    assert means == pytest.approx(((x.mean(0) - y.mean(0)) ** 2).sum(), rel=1e-12)
    cross = np.trace(sqrtm(a @ b + 1e-12 * np.eye(4)).real)
    assert covariances == pytest.approx(np.trace(a) + np.trace(b) - 2 * cross, rel=1e-4)
    assert means + covariances == pytest.approx(
        frechet_distance(torch.from_numpy(x), torch.from_numpy(y)), rel=1e-3
    )
    same = segmentation_distance(torch.from_numpy(x), torch.from_numpy(x))
    assert same[0] == 0 and same[1] == pytest.approx(0, abs=1e-4)
