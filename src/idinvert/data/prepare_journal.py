"""What is done of a data set in the making, line by line; a torn end does not count."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from idinvert.data.prepare_image import Made, Outcome

RAW = ("utf-8", "surrogateescape")
"""File names are bytes; what is no text goes in and out as it is."""


class Line(NamedTuple):
    """What became of one file, without its picture; fields as in `Made`.

    Attributes:
        size: Bytes of the PNG.
        crc: CRC-32 of the PNG.
    """

    place: int
    name: str
    stamp: str
    outcome: Outcome
    detail: str
    source_sha256: str
    sha256: str
    size: int
    crc: int


def line_of(made: Made, *, place: int) -> Line:
    """The line that stands for a file that was just made."""
    return Line(place, *made[:5], made.sha256, len(made.png), zlib.crc32(made.png))


class Journal:
    """Lines in a file, added in blocks that are on the disk before `add` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> Iterator[Line]:
        """All whole lines; whatever follows the last of them is cut off."""
        self.path.touch()
        whole = 0
        with self.path.open("rb") as file:
            for text in file:
                try:
                    line = Line(*json.loads(text))
                except (ValueError, TypeError):
                    break
                if not text.endswith(b"\n"):
                    break
                whole += len(text)
                yield line
        os.truncate(self.path, whole)

    def add(self, lines: Sequence[Line]) -> None:
        """Appends a block."""
        with self.path.open("ab") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())


class Tally:
    """Sums of the lines so far.

    Attributes:
        done: How many lines.
        kept: How many of them were kept.
        dropped: One report row for each of the others.
    """

    def __init__(self) -> None:
        self.done = self.kept = 0
        self.dropped: list[dict[str, Any]] = []
        self._seen: dict[bytes, int] = {}
        self._source, self._content = hashlib.sha256(), hashlib.sha256()

    def judged(self, made: Made) -> Made:
        """`made` as it is, or as the duplicate of one before it with the same pixels."""
        first = self._seen.get(bytes.fromhex(made.sha256)) if made.outcome == "kept" else None
        if first is None:
            return made
        return made._replace(outcome="duplicate", detail=f"same pixels as place {first}")

    def add(self, line: Line) -> None:
        """Counts one more line."""
        self.done += 1
        self._source.update(f"{line.name} {line.source_sha256}\n".encode(*RAW))
        if line.outcome == "kept":
            self.kept += 1
            self._seen[bytes.fromhex(line.sha256)] = line.place
            self._content.update(f"{line.place} {line.sha256}\n".encode())
        else:
            self.dropped.append(
                {
                    "place": line.place,
                    "name": line.name,
                    "why": line.outcome,
                    "detail": line.detail,
                }
            )

    def facts(self) -> dict[str, Any]:
        """The part of the report that follows from the lines."""
        kinds = ("corrupt", "small", "duplicate")
        return {
            "looked_at": self.done,
            "kept": self.kept,
            "dropped": {k: sum(row["why"] == k for row in self.dropped) for k in kinds},
            "dropped_images": self.dropped,
            "content_sha256": self._content.hexdigest(),
            "source_sha256": self._source.hexdigest(),
        }
