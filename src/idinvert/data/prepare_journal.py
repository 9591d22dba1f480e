"""Processing of one image of a data set in preparation, and the journal of processed images."""

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image

from idinvert.data.decode import decode, fit, said_by
from idinvert.data.source import ImageSource
from idinvert.durable import append
from idinvert.errors import CorruptImageError, DataError
from idinvert.untrusted import open_regular, parse_json

PNG = "png, level 6"
"""Encoding of the images; part of the settings."""

_RAW = ("utf-8", "surrogateescape")
"""File names are bytes; those that are not text are preserved."""


class Made(NamedTuple):
    """The result of one file. All fields except the last are a line of the journal.

    Attributes:
        place: Index of the file in the source.
        name: Name in the source.
        stamp: The source's stamp of the file before it was read.
        outcome: `duplicate` is set later, by comparison with the other images.
        detail: The reason for not keeping it; the same on every run.
        source_sha256: sha256 of the file's bytes, hex; empty if they cannot be read.
        sha256: sha256 of `png`, hex; empty unless kept.
        size: Bytes of `png`.
        crc: CRC-32 of `png`.
        png: The image, empty unless kept.
    """

    place: int
    name: str
    stamp: str
    outcome: Literal["kept", "corrupt", "small", "duplicate"]
    detail: str = ""
    source_sha256: str = ""
    sha256: str = ""
    size: int = 0
    crc: int = 0
    png: bytes = b""


def make(source: ImageSource, resolution: int, block: Sequence[tuple[int, str]]) -> list[Made]:
    """Crops files to their central squares, resizes them as `decode.fit` does, encodes them.

    Args:
        source: Source of the files.
        resolution: R, pixels.
        block: Places and names.

    Raises:
        DataError: The device does not respond, so the result of a later attempt is unknown.
    """
    return [_make_one(source, resolution, place, name) for place, name in block]


def _make_one(source: ImageSource, resolution: int, place: int, name: str) -> Made:
    stamp = source.stamp(name)
    try:
        data = source.read(name)
    except DataError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise
        return Made(place, name, stamp, "corrupt", "it cannot be read")
    digest = hashlib.sha256(data).hexdigest()
    try:
        image = decode(data, name=name, most=source.most_pixels)
    except CorruptImageError as error:
        return Made(place, name, stamp, "corrupt", said_by(error.__cause__), digest)
    if min(image.size) < resolution:
        size = f"{image.size[0]}x{image.size[1]} pixels"
        return Made(place, name, stamp, "small", size, digest)
    pixels = fit(image, resolution=resolution, name=name)
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    picture.save(buffer, "PNG", compress_level=6)
    png = buffer.getvalue()
    sha256 = hashlib.sha256(png).hexdigest()
    return Made(
        place, name, stamp, "kept", "", digest, sha256, len(png), zlib.crc32(png), png
    )  # fmt: skip


def read_journal(path: Path) -> Iterator[Made]:
    """Yields all complete lines, without images; anything after the last of them is cut off."""
    path.touch()
    whole = 0
    with open_regular(path) as file:
        for text in file:
            try:
                row = parse_json(text)
                if not text.endswith(b"\n") or len(row) != len(Made._fields) - 1:
                    break
            except (ValueError, TypeError):
                break
            whole += len(text)
            yield Made(*row)
    os.truncate(path, whole)


def add_to_journal(path: Path, lines: Sequence[Made]) -> None:
    """Appends lines and syncs them to disk."""
    if lines:
        append(path, "\n".join(json.dumps(line[:-1]) for line in lines))


class Tally:
    """Sums of the lines so far.

    Attributes:
        done: Number of lines.
        kept: Number of images kept.
        dropped: One report row for each of the others.
    """

    def __init__(self) -> None:
        self.done = self.kept = 0
        self.dropped: list[dict[str, Any]] = []
        self._seen: dict[bytes, int] = {}
        self._source, self._content = hashlib.sha256(), hashlib.sha256()

    def add(self, line: Made) -> Made:
        """Counts one more file; returns it, as a duplicate of an earlier image of equal pixels."""
        if line.outcome == "kept":
            first = self._seen.setdefault(bytes.fromhex(line.sha256), line.place)
            if first != line.place:
                line = line._replace(outcome="duplicate", detail=f"same pixels as place {first}")
        self.done += 1
        self._source.update(f"{line.name} {line.source_sha256}\n".encode(*_RAW))
        if line.outcome == "kept":
            self.kept += 1
            self._content.update(f"{line.place} {line.sha256}\n".encode())
        else:
            row = {"place": line.place, "name": line.name}
            self.dropped.append({**row, "why": line.outcome, "detail": line.detail})
        return line

    def facts(self) -> dict[str, Any]:
        """Returns the part of the report that follows from the lines."""
        kinds = ("corrupt", "small", "duplicate")
        return {
            "looked_at": self.done,
            "kept": self.kept,
            "dropped": {k: sum(row["why"] == k for row in self.dropped) for k in kinds},
            "dropped_images": self.dropped,
            "content_sha256": self._content.hexdigest(),
            "source_sha256": self._source.hexdigest(),
        }
