"""Masks of the region that is diffused or filled in: a crop box or an image file."""

from pathlib import Path

import torch
from torch import Tensor

from idinvert.data.decode import read
from idinvert.data.source import LARGEST as LARGEST_FILE
from idinvert.errors import ConfigError, DataError
from idinvert.untrusted import read_bounded

# The authors' crop, in shares of the side: 110 px around (125, 145) at 256 px.
CROP_SIZE = 110 / 256
CROP_CENTRE = (125 / 256, 145 / 256)
_HALF = 128


def crop_mask(
    resolution: int,
    *,
    size: int | None = None,
    centre: tuple[int, int] | None = None,
    key: str = "inversion",
) -> Tensor:
    """Return the mask of a square box.

    Args:
        resolution: side of the images, R.
        size: side of the box in pixels; None for the authors' 110 of 256.
        centre: its centre (x, y) in pixels; None for the authors' (125, 145) of 256. A box of even
            size begins size / 2 before it.
        key: config node of `size` and `centre`.

    Returns:
        Float32 [1, R, R], 1 inside and 0 outside.

    Raises:
        ConfigError: the box is empty or leaves the image.
    """
    if size is None:
        size = max(1, round(CROP_SIZE * resolution))
    if centre is None:
        centre = (round(CROP_CENTRE[0] * resolution), round(CROP_CENTRE[1] * resolution))
    left, top = (c - size // 2 for c in centre)
    if size < 1 or min(left, top) < 0 or max(left, top) + size > resolution:
        raise ConfigError(
            f"a crop of {size} px around {tuple(centre)} covers x {left} to {left + size}, y {top} "
            f"to {top + size}: expected a box inside the image of {resolution} px; change "
            f"{key}.size, {key}.centre"
        )
    mask = torch.zeros(1, resolution, resolution)
    mask[:, top : top + size, left : left + size] = 1.0
    return mask


def read_mask(
    path: str | Path,
    *,
    key: str = "inversion.mask",
    white: str = "the target is taken",
    black: str = "the context is kept",
) -> Tensor:
    """Read a mask from an image file; white is the region to diffuse, or to fill in.

    Args:
        path: the file, with any size and format of images. It is read like images: upright,
            transparency over white.
        key: the config key that named it.
        white, black: the meaning of white and black, for messages.

    Returns:
        uint8 [1, h, w], grey.

    Raises:
        DataError: it cannot be read.
    """
    try:
        content = read_bounded(path, most=LARGEST_FILE)
        found = read(content, name=str(path))
    except (OSError, DataError) as error:
        raise DataError(
            f"{key}={path} cannot be read as an image ({error.__cause__ or error}); expected a "
            f"picture that is white where {white}"
        ) from error
    grey = found.image.convert("L")
    if found.clear and min(grey.tobytes()) >= _HALF:
        raise DataError(
            f"{key}={path} is white all over, as transparent parts count as white; expected black "
            f"where {black}"
        )
    flat = torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8)
    return flat.view(1, grey.height, grey.width)


def fit_mask(mask: Tensor, *, resolution: int, key: str = "inversion.mask") -> Tensor:
    """Return a mask at G's resolution, 0 or 1.

    Args:
        mask: uint8 [1, h, w], or [N, 1, h, w] for one per image; 128 and above is white. Or float,
            0 to 1; 0.5 and above is white. Resized by nearest neighbour.
        resolution: R.
        key: the config key that named it.

    Returns:
        Float32 [1, R, R] or [N, 1, R, R].

    Raises:
        ConfigError: it has another shape, or is entirely black.
    """
    if mask.ndim not in (3, 4) or mask.shape[-3] != 1:
        raise ConfigError(
            f"{key} has shape {list(mask.shape)}: expected [1, h, w], or [N, 1, h, w] for one an "
            "image"
        )
    level = _HALF if mask.dtype == torch.uint8 else 0.5
    white = (mask >= level).float()
    if white.shape[-2:] != (resolution, resolution):
        batch = white.view(-1, 1, *white.shape[-2:])
        resized = torch.nn.functional.interpolate(batch, size=(resolution, resolution))
        white = resized.view(*white.shape[:-2], resolution, resolution)
    if (white.flatten(-3).sum(-1) == 0).any():
        raise ConfigError(
            f"{key} is black all over at {resolution} px: nothing of the target would be used; "
            "expected white where the target is taken"
        )
    return white


def paste(target: Tensor, context: Tensor, mask: Tensor) -> Tensor:
    """Return the stitched image: the target where the mask is 1, the context elsewhere (Sec. 4.3).

    Args:
        target, context: images [N, 3, R, R] of the same range.
        mask: [1, R, R], or [N, 1, R, R] for one per image.

    Raises:
        ConfigError: the shapes do not match.
    """
    if target.shape != context.shape or mask.shape[-2:] != target.shape[-2:]:
        raise ConfigError(
            f"cannot paste {list(target.shape)} into {list(context.shape)} through a mask of "
            f"{list(mask.shape)}: expected images of one shape and a mask of their size"
        )
    mask = mask.to(target)
    return target * mask + context * (1 - mask)
