"""Decodes image files to square uint8 tensors; the only module that decodes images."""

import contextlib
import functools
import io
import re
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from idinvert.data.formats import FORMATS, HAVE_HEIF, WORDS, advice, true_form
from idinvert.errors import CorruptImageError, DataError

LIKEWISE = "(with task=invert `task.on_corrupt=skip`, in Python `on_corrupt='skip'`)"
"""How to skip unusable files where `data.on_corrupt` does not apply."""
LARGEST = 1 << 27
"""Maximum pixels of an image, unless `megapixels` raises it; phones have up to 200 million."""
_LARGE = 1 << 24
_DECODING = threading.Lock()
"""Lock that lets one large image be decoded at a time: eight at once would use gigabytes."""
DECODER = 2
"""Version, increased whenever a decoded or resized pixel changes. Version 1 read PNG, JPEG and WebP
and ignored profiles; images that it reads identically keep version 1, and their fingerprints."""

_FIRST = ("PNG", "JPEG", "MPO", "WEBP")  # the formats of version 1
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class Decoded(NamedTuple):
    """A decoded image file.

    Attributes:
        image: Upright, mode RGB.
        form: Format of the file as named by Pillow, for instance `PNG`.
        mode: Mode of the stored pixels, for instance `RGBA`.
        decoder: The first version of `DECODER` that reads these pixels.
        clear: Whether parts of it are transparent.
    """

    image: Image.Image
    form: str
    mode: str
    decoder: int
    clear: bool


def decode(data: bytes, *, name: str, most: int = LARGEST) -> Image.Image:
    """Returns the image of `read`."""
    return read(data, name=name, most=most).image


def read(data: bytes, *, name: str, most: int = LARGEST) -> Decoded:
    """Decodes an image file of any of `FORMATS` to upright 8-bit RGB.

    It is rotated by its EXIF orientation. An embedded ICC profile is converted to sRGB (perceptual
    intent; a profile that is broken or for another kind of pixels is ignored). Grey is repeated
    over the channels, transparent pixels are laid over white, palettes are looked up, 16 bits are
    scaled to 8 with rounding (16-bit colour PNGs: high byte), and CMYK without a profile is
    converted by complement. Of animations, the first frame is read.

    Args:
        data: The whole file.
        name: Name of the file in errors.
        most: Maximum number of pixels.

    Raises:
        CorruptImageError: The bytes are not an image of these formats, are damaged, or too large.
    """
    formats = tuple(form for form in FORMATS if form != "HEIF")
    if HAVE_HEIF and true_form(data) == "HEIF":
        _register_heif()
        formats = ("HEIF",)
    try:
        _silence_pillow()
        if (Image.MAX_IMAGE_PIXELS or most) < most:  # Pillow refuses more than twice this
            Image.MAX_IMAGE_PIXELS = most
        with Image.open(io.BytesIO(data), formats=formats) as image:
            pixels = image.width * image.height
            if pixels > most:
                raise Image.DecompressionBombError(f"it has {pixels:,} pixels")
            with _DECODING if pixels > _LARGE else contextlib.nullcontext():
                image.load()
            form, mode = str(image.format), image.mode
            upright = ImageOps.exif_transpose(image)
            profile = image.info.get("icc_profile")
            if upright.mode == "F":
                raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
            if upright.mode in _SIXTEEN_BITS:
                wide = np.asarray(upright).astype(np.float64).clip(0, 65535)
                upright = Image.fromarray(np.rint(wide / 257.0).astype(np.uint8))
            clear = upright.mode in _WITH_ALPHA or "transparency" in upright.info
            if clear:
                upright = upright.convert("RGBA")
            found = _in_srgb(upright, profile) if profile else None
            upright = found or upright
            if clear:
                clear = np.asarray(upright.getchannel("A")).min() < 255
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            decoder = 2 if found or form not in _FIRST else 1
            return Decoded(upright.convert("RGB"), form, mode, decoder, clear)
    except Image.DecompressionBombError as error:
        raise CorruptImageError(
            f"cannot decode {name}: {error}; expected {most / 1e6:,.0f} megapixels at most; raise "
            "the limit with `data.megapixels=NUMBER` (with task=invert: `task.megapixels`; prepare "
            "and inspect: --megapixels)"
        ) from error
    # Damaged files raise whatever the codec raises: OSError, SyntaxError, ValueError, zlib.error, …
    except Exception as error:
        true = true_form(data)
        if true is not None and true not in FORMATS:
            kind = true.replace("HEIF", "HEIC")
            raise CorruptImageError(
                f"cannot decode {name}: it is a {kind} file, whatever its name; {advice(true)}, or "
                f"leave it out with `data.on_corrupt=skip` {LIKEWISE}"
            ) from error
        raise CorruptImageError(
            f"cannot decode {name}: {said_by(error)}; expected a whole file of "
            f"{WORDS}; mend or remove it, or set `data.on_corrupt=skip` {LIKEWISE}"
        ) from error


def said_by(error: BaseException | None) -> str:
    """Returns a codec's message on one line, without memory addresses, which vary."""
    words = " ".join(str(error or "").split()) or type(error).__name__
    return re.sub(r" ?<[^>]* at 0x[0-9a-fA-F]+>", "", words)


@functools.cache
def _silence_pillow() -> None:
    """Silences warnings of Pillow about images that `read` refuses."""
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@functools.cache
def _register_heif() -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Converts an image to sRGB; None if it is sRGB already, or the profile cannot be used."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space == "RGB" and "srgb" in (ImageCms.getProfileDescription(source) or "").lower():
            return None
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        flat = image.convert({"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[space])
        if space == "CMYK" and image.mode != "CMYK":
            return None
        found = ImageCms.profileToProfile(flat, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError):
        return None
    if found is not None and alpha is not None:
        found.putalpha(alpha)
    return found


_SRGB = ImageCms.createProfile("sRGB")


def fit(image: Image.Image, *, resolution: int, name: str, allow_upscale: bool = False) -> Tensor:
    """Crops the central square and resizes it (Lanczos, antialiased).

    Args:
        image: RGB.
        resolution: R, pixels.
        name: Name of the file in errors.
        allow_upscale: Whether smaller images are enlarged rather than refused.

    Returns:
        uint8 `[3, R, R]`.

    Raises:
        DataError: The central square has fewer than R pixels per side.
    """
    width, height = image.size
    side = min(width, height)
    if side < resolution and not allow_upscale:
        raise DataError(too_small(width, height, resolution=resolution, name=name))
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != resolution:
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def too_small(width: int, height: int, *, resolution: int, name: str) -> str:
    """Returns the reason for refusing an image that would have to be enlarged."""
    return (
        f"{name} has {width}x{height} pixels, expected at least {resolution} on the shorter "
        "side; enlarge it with `data.allow_upscale=true`, or leave it out with "
        "`data.on_corrupt=skip` (with task=invert: `task.allow_upscale`, `task.on_corrupt`; in "
        "Python `allow_upscale=True`, `on_corrupt='skip'`)"
    )


def as_pictures(given: Any) -> list[Image.Image]:
    """Converts one image or a batch to PIL images of mode RGB.

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
