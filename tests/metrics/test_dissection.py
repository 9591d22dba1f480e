"""Thresholds, overlaps and scores against NumPy and scikit-learn, written out unit by unit."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, mutual_info_score

from idinvert.metrics.dissection import information_quality, overlaps, thresholds, unit_iou

SHARES = (0.05, 0.25, 0.5)


@pytest.fixture
def world():
    """Features [6, 3, 8, 8], and concepts that unit 0 and the negative of unit 1 follow."""
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(6, 3, 8, 8, generator=rng)
    concepts = torch.stack([features[:, 0] > 0.6, features[:, 1] < -0.4], dim=1)
    concepts ^= torch.rand(6, 2, 8, 8, generator=rng) < 0.1
    return features, concepts


def flat(maps: torch.Tensor, unit: int) -> np.ndarray:
    return maps[:, unit].numpy().ravel()


def test_thresholds_are_numpy_s_quantiles_also_of_one_value(world):
    values = world[0].transpose(0, 1).flatten(1)
    expected = np.quantile(values.double().numpy(), [1 - share for share in SHARES], axis=1)
    np.testing.assert_allclose(thresholds(values, SHARES), expected, rtol=0, atol=1e-6)
    assert torch.equal(thresholds(values[:, :1], SHARES), values[:, :1].T.expand(3, -1))


def test_iou_and_iqr_are_those_of_every_pixel_counted(world):
    features, concepts = world
    levels = thresholds(features.transpose(0, 1).flatten(1), SHARES)
    both, active = overlaps(features, levels, concepts)
    there, pixels = concepts.sum((0, 2, 3)).double(), concepts[:, 0].numel()
    iou = unit_iou(both, active, there)
    iqr = information_quality(both, active, there, pixels=pixels)
    for t in range(3):
        for u in range(3):
            on = flat(features, u) > levels[t, u].item()
            for k in range(2):
                here = flat(concepts, k)
                joint = np.histogram2d(on, here, bins=2)[0].ravel() / pixels
                entropy = -sum(p * np.log(p) for p in joint if p > 0)
                follows = here[on].mean() > here.mean()
                expected = mutual_info_score(on, here) / entropy if follows else 0
                assert iou[t, u, k].item() == pytest.approx(jaccard_score(here, on), rel=1e-9)
                assert iqr[t, u, k].item() == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert iqr.amax(0)[0].argmax() == 0, "unit 0 follows the first concept"
    assert iqr[:, 1, 1].max() == 0, "a unit that is active where a concept is not does not follow"


def test_features_are_upsampled_bilinearly_before_the_threshold():
    features = torch.tensor([[0.0, 1.0], [0.0, 1.0]])[None, None]
    matrix = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    upsampled = matrix @ features[0, 0].numpy() @ matrix.T
    concepts = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    levels = torch.tensor([[0.2], [0.5], [0.9]])
    both, active = overlaps(features, levels, concepts)
    expected = [(upsampled > level).sum() for level in (0.2, 0.5, 0.9)]
    assert active[:, 0].tolist() == both[:, 0, 0].tolist() == expected


def test_neither_a_unit_nor_a_concept_gives_no_score():
    zero = torch.zeros(1, 1, 1, dtype=torch.float64)
    assert unit_iou(zero, zero[0], zero[0, 0]).item() == 0
    assert information_quality(zero, zero[0], zero[0, 0], pixels=9).item() == 0
