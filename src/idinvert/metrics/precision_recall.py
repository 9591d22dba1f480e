"""Precision against recall of a score that shall tell two classes apart (Fig. 3)."""

from typing import NamedTuple

import torch
from torch import Tensor

from idinvert.errors import DataError


class Curve(NamedTuple):
    """Precision and recall at every threshold, from the lowest score to the highest.

    Attributes:
        precision: float64 [T + 1], the last 1.
        recall: float64 [T + 1], falling from 1 to 0.
        thresholds: float64 [T], rising; a score of at least the threshold counts as positive.
    """

    precision: Tensor
    recall: Tensor
    thresholds: Tensor


def precision_recall_curve(scores: Tensor, labels: Tensor) -> Curve:
    """Precision and recall for each different score as threshold.

    Equal scores share a threshold; the point (recall 0, precision 1) closes the curve, as in
    scikit-learn's `precision_recall_curve`.

    Args:
        scores: float [N]; higher says positive.
        labels: bool [N].

    Raises:
        DataError: the two do not fit, are not finite, or one of the classes is empty.
    """
    hits, alarms, thresholds = _counts(scores, labels)
    precision = hits / (hits + alarms)
    recall = hits / hits[-1]
    one, zero = precision.new_ones(1), precision.new_zeros(1)
    return Curve(
        torch.cat([precision.flip(0), one]), torch.cat([recall.flip(0), zero]), thresholds.flip(0)
    )


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Area under the precision–recall curve as a sum of steps: Σ (R_k − R_{k−1})·P_k.

    Args, Raises: as `precision_recall_curve`.
    """
    precision, recall, _ = precision_recall_curve(scores, labels)
    return float(((recall[:-1] - recall[1:]) * precision[:-1]).sum())


def area_under_roc(scores: Tensor, labels: Tensor) -> float:
    """Chance that a positive scores above a negative; ties count a half (ROC AUC).

    Unlike average precision it does not depend on how many positives there are.

    Args, Raises: as `precision_recall_curve`.
    """
    hits, alarms, _ = _counts(scores, labels)
    zero = hits.new_zeros(1)
    y, x = torch.cat([zero, hits / hits[-1]]), torch.cat([zero, alarms / alarms[-1]])
    return float(torch.trapezoid(y, x))


def thinned(curve: Curve, points: int) -> Curve:
    """At most `points` points of a curve, at even steps of recall, both ends included.

    Args:
        curve: of any length.
        points: three or more.
    """
    if len(curve.recall) <= points:
        return curve
    wanted = torch.linspace(0, 1, points - 1, dtype=torch.float64)
    rising = curve.recall.flip(0).contiguous()
    places = torch.searchsorted(rising, wanted).clamp(max=len(rising) - 1)
    kept = (len(rising) - 1 - places).unique()
    kept = torch.cat([kept.new_zeros(1), kept]).unique()
    return Curve(curve.precision[kept], curve.recall[kept], curve.thresholds[kept[:-1]])


def _counts(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """True and false positives at every different score, from the highest down, float64 [T]."""
    scores, labels = scores.detach().cpu().double(), labels.detach().cpu().bool()
    if scores.ndim != 1 or scores.shape != labels.shape or not torch.isfinite(scores).all():
        raise DataError(
            f"precision and recall: got scores {list(scores.shape)} and labels "
            f"{list(labels.shape)}; expected finite scores [N] and labels [N]"
        )
    if not labels.any() or labels.all():
        raise DataError(
            f"precision and recall: {int(labels.sum())} of {len(labels)} images are positive; both "
            "classes are needed (more images: n)"
        )
    order = torch.argsort(scores, descending=True, stable=True)
    scores, labels = scores[order], labels[order]
    last = torch.cat([scores[1:] != scores[:-1], torch.ones(1, dtype=torch.bool)])
    hits = labels.double().cumsum(0)[last]
    alarms = (~labels).double().cumsum(0)[last]
    return hits, alarms, scores[last]
