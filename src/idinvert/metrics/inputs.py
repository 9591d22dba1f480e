"""What metrics check of the images they are given: the same mistake gets the same message."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from idinvert.errors import DataError

Images = Tensor | Iterable[Tensor]
"""A set of images: uint8 `[N, 3, R, R]`, or what yields such batches each time it is iterated."""


def paired(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Check a batch of outputs against its targets and clamp the outputs to [-1, 1].

    Args:
        outputs: float `[N, 3, H, W]`, what a generator gave; may leave [-1, 1].
        targets: float `[N, 3, H, W]` in [-1, 1].

    Returns:
        Both, of one floating dtype (float64 if either is, else float32), the outputs clamped.

    Raises:
        DataError: shapes differ, or one of them is not a floating-point batch of RGB images.
    """
    for name, images in (("outputs", outputs), ("targets", targets)):
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise DataError(
                f"paired metrics take float [N, 3, H, W] in [-1, 1]; {name} is {images.dtype} "
                f"{list(images.shape)}"
            )
    if outputs.shape != targets.shape:
        raise DataError(
            f"outputs {list(outputs.shape)} and targets {list(targets.shape)} differ in shape; "
            "they must be pairs"
        )
    dtype = torch.float64 if torch.float64 in (outputs.dtype, targets.dtype) else torch.float32
    return outputs.to(dtype).clamp(-1, 1), targets.to(dtype)


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
