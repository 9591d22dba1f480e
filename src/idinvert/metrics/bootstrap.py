"""How sure a metric is: intervals from images drawn again with replacement."""

import hashlib
import math

import torch
from torch import Tensor

RESAMPLES = 200
Z = 1.959964
"""Of a normal distribution, 95 % lies within so many standard deviations."""
WORDS = "95 % interval: ±1.96 standard deviations of {resamples} bootstrap resamples of the images"

Interval = tuple[float, float]


def resampled(n: int, *, seed: int, name: str, resamples: int = RESAMPLES) -> Tensor:
    """Images drawn with replacement, n of n, each resample from the seed alone.

    Args:
        n: images.
        seed: of the evaluation.
        name: of the set: two sets of one size are drawn apart, unless they share a name.
        resamples: B.

    Returns:
        int64 [B, n]: places.
    """
    digest = hashlib.sha256(f"bootstrap/{seed}/{n}/{name}".encode()).digest()
    rng = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.randint(0, n, (resamples, n), generator=rng)


def counts_of(places: Tensor) -> Tensor:
    """How often each image was drawn: int64 [B, n] to float64 [B, n]."""
    ones = torch.ones_like(places, dtype=torch.float64)
    return torch.zeros_like(ones).scatter_add_(1, places, ones)


def interval(value: float, replicates: Tensor) -> Interval | None:
    """The 95 % interval about a value, by the spread of its replicates.

    A distance of resampled sets is larger than that of the sets themselves, for a resample repeats
    images. So the replicates give the width, and the value the middle.

    Args:
        value: of the metric.
        replicates: float [B]; those that are not finite are left out.

    Returns:
        Low and high; None for a value that is not finite, or with fewer than two replicates.
    """
    kept = replicates[replicates.isfinite()].double()
    if not math.isfinite(value) or len(kept) < 2:
        return None
    half = Z * kept.std().item()
    return value - half, value + half


def mean_interval(values: Tensor, *, seed: int) -> Interval | None:
    """The interval of a mean over images, from their values [N]."""
    values = values.double().cpu()
    if len(values) < 2:
        return None
    counts = counts_of(resampled(len(values), seed=seed, name="images"))
    return interval(values.mean().item(), counts @ values / len(values))
