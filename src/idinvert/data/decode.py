"""Bytes of an image file in, square uint8 tensors out: the only place that decodes pictures."""

from __future__ import annotations

import contextlib
import io
import threading
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from idinvert.errors import CorruptImageError, DataError

LARGEST = 1 << 27
"""Pixels of an image at most; cameras have up to 108 million."""
_LARGE = 1 << 24
_DECODING = threading.Lock()
"""Of the larger images one is decoded at a time: eight at once would take gigabytes."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DECODER = 1  # raise whenever a decoded or fitted pixel changes: fingerprints carry it

_FORMATS = ("PNG", "JPEG", "WEBP")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def decode(data: bytes, *, name: str) -> Image.Image:
    """Decodes a PNG, JPEG or WebP file to upright 8-bit RGB.

    Turned by its EXIF orientation; grey repeated over the channels; transparency laid over white;
    palettes looked up; 16 bits scaled to 8 with rounding (16-bit colour PNGs: high byte); CMYK
    converted without a profile, as are all embedded profiles ignored; first frame of animations.

    Args:
        data: The whole file.
        name: What to call the file in errors.

    Returns:
        A PIL image of mode RGB.

    Raises:
        CorruptImageError: The bytes are no picture of these formats, or are damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            pixels = image.width * image.height
            if pixels > LARGEST:
                raise ValueError(f"it has {pixels:,} pixels, expected {LARGEST:,} at most")
            with _DECODING if pixels > _LARGE else contextlib.nullcontext():
                image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode in _SIXTEEN_BITS:
                wide = np.asarray(upright).astype(np.float64).clip(0, 65535)
                upright = Image.fromarray(np.rint(wide / 257.0).astype(np.uint8))
            if upright.mode in _WITH_ALPHA or "transparency" in upright.info:
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright.convert("RGBA"))
            return upright.convert("RGB")
    # Damaged files raise whatever the codec meets: OSError, SyntaxError, ValueError, zlib.error, …
    except Exception as error:
        raise CorruptImageError(
            f"cannot decode {name}: {error or type(error).__name__}; expected a whole PNG, JPEG or "
            "WebP file; mend or remove it, or set `data.on_corrupt=skip` (with task=invert: "
            "`task.on_corrupt=skip`)"
        ) from error


def fit(image: Image.Image, *, resolution: int, name: str, allow_upscale: bool = False) -> Tensor:
    """Cuts out the central square and resizes it (Lanczos, antialiased).

    Args:
        image: RGB.
        resolution: R, pixels.
        name: What to call the file in errors.
        allow_upscale: Whether smaller images are enlarged rather than refused.

    Returns:
        uint8 `[3, R, R]`.

    Raises:
        DataError: The central square has fewer than R pixels a side.
    """
    width, height = image.size
    side = min(width, height)
    check_size(width, height, resolution=resolution, name=name, allow_upscale=allow_upscale)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != resolution:
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def check_size(width: int, height: int, *, resolution: int, name: str, allow_upscale: bool) -> None:
    """Refuses images that would have to be enlarged.

    Raises:
        DataError: The shorter side is below `resolution` and `allow_upscale` is false.
    """
    if min(width, height) < resolution and not allow_upscale:
        raise DataError(
            f"{name} has {width}x{height} pixels, expected at least {resolution} on the shorter "
            "side; change `data.resolution`, or enlarge it with `data.allow_upscale=true` (with "
            "task=invert: `task.allow_upscale=true`)"
        )


def as_pictures(given: Any) -> list[Image.Image]:
    """One image or a batch as PIL images of mode RGB.

    Raises:
        DataError: It is of another type, dtype or shape.
    """
    if isinstance(given, Image.Image):
        return [given.convert("RGB")]
    array = given.movedim(-3, -1).cpu().numpy() if isinstance(given, Tensor) else given
    if isinstance(array, np.ndarray) and array.dtype == np.uint8:
        array = array[None] if array.ndim == 3 else array
        if array.ndim == 4 and array.shape[-1] == 3:
            return [Image.fromarray(np.ascontiguousarray(one)) for one in array]
    facts = f" {given.dtype} of shape {list(given.shape)}" if hasattr(given, "shape") else ""
    raise DataError(
        f"cannot invert a {type(given).__name__}{facts}: expected a path, a PIL image, a uint8 "
        "array [H, W, 3] or [N, H, W, 3], or a uint8 tensor [3, H, W] or [N, 3, H, W]"
    )
