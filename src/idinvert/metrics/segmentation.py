"""Agreement of two masks: the confusion matrix of their classes, and the IoU of each class."""

import torch
from torch import Tensor

from idinvert.errors import DataError


def confusion(masks: Tensor, other: Tensor, *, classes: int) -> Tensor:
    """Count the pixels of each pair of classes in two masks.

    Args:
        masks: Integers [N, H, W] below `classes`.
        other: Integers of the same shape.
        classes: C.

    Returns:
        float64 [C, C]: row c counts the pixels of class c in `masks`, by their class in `other`.

    Raises:
        DataError: Shapes differ, or a value is not a class.
    """
    if masks.shape != other.shape:
        raise DataError(f"masks of {list(masks.shape)} and {list(other.shape)} do not fit together")
    a, b = masks.long().flatten(), other.long().flatten()
    if len(a) and not 0 <= int(min(a.min(), b.min())) <= int(max(a.max(), b.max())) < classes:
        raise DataError(f"a mask holds values outside 0 to {classes - 1}, the classes there are")
    pairs = torch.bincount(a * classes + b, minlength=classes**2)
    return pairs.view(classes, classes).double()


def iou(counts: Tensor) -> Tensor:
    """Return the intersection over union of each class: [..., C, C] to [..., C]; NaN if in neither.

    Args:
        counts: Result of `confusion`, summed over images.
    """
    both = counts.diagonal(dim1=-2, dim2=-1)
    return both / (counts.sum(-1) + counts.sum(-2) - both)


def class_areas(masks: Tensor, *, classes: int) -> Tensor:
    """Return the area of each image that each class covers.

    Args:
        masks: integers [N, H, W] below `classes`.
        classes: C.

    Returns:
        Per cent, float64 [N, C]; every row sums to 100.
    """
    flat = masks.long().flatten(1)
    counts = torch.zeros(len(flat), classes, dtype=torch.float64, device=flat.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float64))
    return 100 * counts / flat.shape[1]


def segmentation_distance(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the Fréchet distance of two sets of class areas (FSD), in two parts.

    Args:
        x, y: [N, C] and [M, C], each with at least two rows.

    Returns:
        The distance of the means and that of the covariances; their sum is FSD.

    Source:
        Bau et al. 2019, Seeing What a GAN Cannot Generate (arXiv 1910.11626), Sec. 3.1.
    """
    means = (x.mean(0) - y.mean(0)).square().sum().item()
    first, second = torch.cov(x.T), torch.cov(y.T)
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    return means, max(0.0, (first.trace() + second.trace() - 2 * cross).item())
