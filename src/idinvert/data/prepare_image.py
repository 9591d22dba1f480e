"""One image of a data set in the making: file in, square PNG out, or why not."""

from __future__ import annotations

import hashlib
import io
import re
from typing import Literal, NamedTuple

from PIL import Image

from idinvert.data.decode import decode, fit
from idinvert.data.source import ImageSource
from idinvert.errors import CorruptImageError, DataError

PNG = "png, level 6"
"""How pictures are written; one of the settings."""

Outcome = Literal["kept", "corrupt", "small", "duplicate"]


class Made(NamedTuple):
    """What became of one file.

    Attributes:
        name: In the source.
        stamp: The source's stamp of the file before it was read.
        outcome: `duplicate` is for those to say who have seen the others.
        detail: Why it was not kept; the same on every run.
        source_sha256: Of the file's bytes, hex; empty if they cannot be read.
        png: The picture, empty unless kept.
        sha256: Of `png`, hex.
    """

    name: str
    stamp: str
    outcome: Outcome
    detail: str
    source_sha256: str
    png: bytes
    sha256: str


def make(source: ImageSource, name: str, *, resolution: int) -> Made:
    """Crops one file to its central square, resizes it as `decode.fit` does, and encodes it.

    Args:
        source: Where the file is.
        name: Which.
        resolution: R, pixels.

    Raises:
        DataError: The device does not answer; what would come of it later cannot be told.
    """
    stamp = source.stamp(name)
    try:
        data = source.read(name)
    except DataError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise
        return Made(name, stamp, "corrupt", "it cannot be read", "", b"", "")
    digest = hashlib.sha256(data).hexdigest()
    try:
        image = decode(data, name=name)
    except CorruptImageError as error:
        return Made(name, stamp, "corrupt", _why(error), digest, b"", "")
    if min(image.size) < resolution:
        size = f"{image.size[0]}x{image.size[1]} pixels"
        return Made(name, stamp, "small", size, digest, b"", "")
    pixels = fit(image, resolution=resolution, name=name)
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(
        buffer, "PNG", compress_level=6
    )
    png = buffer.getvalue()
    return Made(name, stamp, "kept", "", digest, png, hashlib.sha256(png).hexdigest())


def _why(error: Exception) -> str:
    """The codec's words, on one line and without addresses in memory, which differ every time."""
    cause = error.__cause__
    words = " ".join(str(cause or "").split()) or type(cause).__name__
    return re.sub(r" ?<[^>]* at 0x[0-9a-fA-F]+>", "", words)
