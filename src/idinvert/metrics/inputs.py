"""Sets of images as metrics take them, checked: the same mistake gets the same message."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.errors import DataError

Images = Tensor | Iterable[Tensor]
"""A set of images: uint8 `[N, 3, R, R]`, or what yields such batches each time it is iterated."""


def uint8_batches(images: Images, *, name: str, batch_size: int) -> Iterator[Tensor]:
    """Yield a set of images in batches.

    Args:
        images: see `Images`.
        name: what to call the set in an error.
        batch_size: images in a batch, where the set is one tensor.

    Yields:
        uint8 `[b, 3, R, R]`.

    Raises:
        DataError: the set is not uint8 RGB, or can be iterated only once.
    """
    if isinstance(images, Tensor):
        batches: Iterable[Tensor] = images.split(batch_size)
    elif iter(images) is images:
        raise DataError(
            f"{name} is a one-shot iterator; the pyramid is streamed level by level, so the set is "
            "read several "
            "times: pass a tensor, a list of batches or a DataLoader"
        )
    else:
        batches = images
    for batch in batches:
        check_uint8(batch, name=name)
        yield batch


def check_uint8(images: Tensor, *, name: str) -> None:
    """Raise a `DataError` unless `images` is uint8 `[N, 3, R, R]`."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise DataError(
            f"set metrics take uint8 [N, 3, R, R] (idinvert.data.convert.to_uint8); "
            f"{name} is {images.dtype} {list(images.shape)}"
        )


def check_equal_counts(outputs: int, reals: int, *, metric: str) -> None:
    """Raise a `DataError` unless both sets have the same number of images."""
    if outputs != reals:
        raise DataError(
            f"{metric} compares sets of equal size; got {outputs} outputs and {reals} real images"
        )


class ImageSet(Dataset):
    """uint8 images in memory, handed out one by one.

    Args:
        images: uint8 `[N, 3, R, R]`.
        name: what to call the set in an error.

    Raises:
        DataError: not uint8 RGB, or fewer than two images.
    """

    def __init__(self, images: Tensor, *, name: str) -> None:
        check_uint8(images, name=name)
        if len(images) < 2:
            raise DataError(
                f"distances between sets need at least two images; {name} holds {len(images)}"
            )
        self.images = images.cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def image_sets(
    outputs: Tensor, reals: Tensor, *, metric: str = "a distance between sets"
) -> tuple[ImageSet, ImageSet]:
    """Both sets of a distance; they must be of equal size."""
    check_equal_counts(len(outputs), len(reals), metric=metric)
    return ImageSet(outputs, name="outputs"), ImageSet(reals, name="reals")
