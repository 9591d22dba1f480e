"""Precision and recall of a score that separates two classes (Fig. 3)."""

from typing import NamedTuple

import numpy as np
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
    """Return scikit-learn's precision and recall, with each distinct score as threshold.

    Args:
        scores: float [N]; higher means positive.
        labels: bool [N].

    Raises:
        DataError: the shapes differ, scores are not finite, or one of the classes is empty.
    """
    from sklearn import metrics  # here, because every command would wait for it

    found = metrics.precision_recall_curve(*_checked(scores, labels))
    return Curve(*(torch.from_numpy(np.ascontiguousarray(values)) for values in found))


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Return the area under the precision–recall curve as a sum of steps: Σ (R_k − R_{k−1})·P_k.

    Args, Raises: as `precision_recall_curve`.
    """
    from sklearn import metrics

    return float(metrics.average_precision_score(*_checked(scores, labels)))


def area_under_roc(scores: Tensor, labels: Tensor) -> float:
    """Return the probability that a positive scores above a negative, ties as half (ROC AUC).

    Unlike average precision it does not depend on the proportion of positives.

    Args, Raises: as `precision_recall_curve`.
    """
    from sklearn import metrics

    return float(metrics.roc_auc_score(*_checked(scores, labels)))


def thinned(curve: Curve, points: int) -> Curve:
    """Return at most `points` points of a curve, at even steps of recall, including both ends.

    Args:
        curve: a curve of any length.
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


def _checked(scores: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores as scikit-learn takes them, bool and float64."""
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
    return labels.numpy(), scores.numpy()
