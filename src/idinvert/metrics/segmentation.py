"""How far two masks agree: the confusion of their classes, and the IoU of each."""

import torch
from torch import Tensor

from idinvert.errors import DataError


def confusion(masks: Tensor, other: Tensor, *, classes: int) -> Tensor:
    """How many pixels have one class here and another there.

    Args:
        masks: Integers [N, H, W] below `classes`.
        other: The same shape.
        classes: C.

    Returns:
        float64 [C, C]: row c has the pixels of class c in `masks`, by their class in `other`.

    Raises:
        DataError: Shapes differ, or a value is no class.
    """
    if masks.shape != other.shape:
        raise DataError(f"masks of {list(masks.shape)} and {list(other.shape)} do not fit together")
    a, b = masks.long().flatten(), other.long().flatten()
    if len(a) and not 0 <= int(min(a.min(), b.min())) <= int(max(a.max(), b.max())) < classes:
        raise DataError(f"a mask holds values outside 0 to {classes - 1}, the classes there are")
    pairs = torch.bincount(a * classes + b, minlength=classes**2)
    return pairs.view(classes, classes).double()


def iou(counts: Tensor) -> Tensor:
    """Intersection over union of each class: [..., C, C] to [..., C]; NaN where there is neither.

    Args:
        counts: From `confusion`, summed over images.
    """
    both = counts.diagonal(dim1=-2, dim2=-1)
    return both / (counts.sum(-1) + counts.sum(-2) - both)
