"""Distances between two sets of images that are computed on one space of features."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.errors import DataError


class Distance:
    """One or more metrics that compare the same features of two sets.

    Attributes:
        floors: metrics for which the distance between two real sets is reported as a floor.
    """

    floors: frozenset[str]

    def embed(self, images: Tensor) -> Any:
        """Map images uint8 `[N, 3, R, R]` to features of any type."""
        return images

    def values(self, x: Any, y: Any) -> Mapping[str, float]:
        """Map features of outputs and of reals, of equal N, to metric name and value."""
        raise NotImplementedError

    def replicates(self, x: Any, y: Any, *, paired: bool) -> Mapping[str, Tensor]:
        """Return the metrics of resampled sets, float64 `[B]`; empty for metrics without interval.

        Args:
            x, y: features of outputs and of reals.
            paired: whether item i of both belongs to the same image; both are then drawn together.
        """
        return {}

    def between(self, outputs: Tensor, reals: Tensor) -> Mapping[str, float]:
        """Return metric name and value for two sets of images, uint8 `[N, 3, R, R]`, equal N.

        Raises:
            DataError: counts differ, images are not uint8 RGB, or there are fewer than two.
        """
        check_sets(outputs=outputs, reals=reals)
        return self.values(self.embed(outputs), self.embed(reals))


def check_sets(*, metric: str = "a distance between sets", least: int = 2, **sets: Tensor) -> None:
    """Check sets of images; errors name them by their keyword.

    Raises:
        DataError: counts differ or are below `least`, or images are not uint8 `[N, 3, R, R]`.
    """
    if len({len(images) for images in sets.values()}) > 1:
        counts = " and ".join(f"{len(images)} {name}" for name, images in sets.items())
        raise DataError(f"{metric} compares sets of equal size; got {counts}")
    for name, images in sets.items():
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise DataError(
                f"set metrics take uint8 [N, 3, R, R] (idinvert.data.convert.to_uint8); "
                f"{name} is {images.dtype} {list(images.shape)}"
            )
        if len(images) < least:
            number = {1: "one image", 2: "two images"}[least]
            raise DataError(f"{metric} needs at least {number}; {name} holds {len(images)}")


class ImageSet(Dataset):
    """A data set of uint8 images `[N, 3, R, R]`, as required by torch-fidelity."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]
