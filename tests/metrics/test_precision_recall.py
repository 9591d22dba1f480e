"""Precision and recall of a score, by hand."""

import numpy as np
import pytest
import torch

from idinvert.errors import DataError
from idinvert.metrics.precision_recall import (
    area_under_roc,
    average_precision,
    precision_recall_curve,
    thinned,
)


def test_the_curve_by_hand():
    scores, labels = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 0, 1, 0]).bool()
    precision, recall, thresholds = precision_recall_curve(scores, labels)
    assert precision.tolist() == pytest.approx([2 / 4, 2 / 3, 1 / 2, 1, 1])
    assert recall.tolist() == pytest.approx([1, 1, 1 / 2, 1 / 2, 0])
    assert thresholds.tolist() == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert average_precision(scores, labels) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert area_under_roc(scores, labels) == pytest.approx(3 / 4)
    assert area_under_roc(torch.ones(4), labels) == pytest.approx(1 / 2), "ties count a half"


def test_few_points_of_a_curve_lie_on_it_and_keep_its_ends():
    rng = np.random.default_rng(0)
    labels = rng.random(2000) < 0.3
    scores = torch.from_numpy(rng.normal(size=2000) + labels)
    curve = precision_recall_curve(scores, torch.from_numpy(labels))
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
