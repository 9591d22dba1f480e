"""Precision and recall against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from idinvert.errors import DataError
from idinvert.metrics.precision_recall import (
    area_under_roc,
    average_precision,
    precision_recall_curve,
    thinned,
)


def drawn(seed, count, *, ties):
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.3
    labels[:2] = True, False
    scores = rng.normal(size=count) + labels
    return (np.round(scores, 1) if ties else scores), labels


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [2, 3, 50, 777])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_curve_and_areas_are_scikit_learns(seed, count, ties):
    scores, labels = drawn(seed, count, ties=ties)
    ours = precision_recall_curve(torch.from_numpy(scores), torch.from_numpy(labels))
    theirs = metrics.precision_recall_curve(labels, scores)
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), yours, rtol=1e-12, atol=1e-12)
    pair = torch.from_numpy(scores), torch.from_numpy(labels)
    expected = metrics.average_precision_score(labels, scores)
    assert average_precision(*pair) == pytest.approx(expected, rel=1e-12)
    assert area_under_roc(*pair) == pytest.approx(metrics.roc_auc_score(labels, scores), rel=1e-12)


def test_the_curve_by_hand():
    scores, labels = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 0, 1, 0]).bool()
    precision, recall, thresholds = precision_recall_curve(scores, labels)
    assert precision.tolist() == pytest.approx([2 / 4, 2 / 3, 1 / 2, 1, 1])
    assert recall.tolist() == pytest.approx([1, 1, 1 / 2, 1 / 2, 0])
    assert thresholds.tolist() == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert average_precision(scores, labels) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_few_points_of_a_curve_lie_on_it_and_keep_its_ends():
    scores, labels = drawn(0, 2000, ties=False)
    curve = precision_recall_curve(torch.from_numpy(scores), torch.from_numpy(labels))
    few = thinned(curve, 101)
    assert 90 <= len(few.recall) <= 101 and len(few.thresholds) == len(few.recall) - 1
    points = set(zip(curve.recall.tolist(), curve.precision.tolist(), strict=True))
    assert set(zip(few.recall.tolist(), few.precision.tolist(), strict=True)) <= points
    assert few.recall[0] == 1 and few.recall[-1] == 0 and few.precision[-1] == 1
    assert few.recall.diff().abs().max() < 0.02
    assert thinned(few, 500) is few


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, 2.0], [True, True], "2 of 2 images are positive"),
        ([1.0, 2.0], [False, False], "0 of 2 images are positive"),
        ([1.0], [True, False], r"\[1\] and labels \[2\]"),
        ([1.0, float("nan")], [True, False], "finite"),
    ],
)
def test_what_has_no_curve_is_refused(scores, labels, words):
    with pytest.raises(DataError, match=words):
        precision_recall_curve(torch.tensor(scores), torch.tensor(labels))
