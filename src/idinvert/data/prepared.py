"""What a prepared data set says about itself, and how its images are called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from idinvert.data.lsun import LmdbSource
from idinvert.data.source import ImageSource
from idinvert.errors import DataError

FORMAT = "idinvert-prepared-1"
MEMBER = "prepared.json"
"""The report, in the archive or folder itself."""

_NAME = re.compile(r"\d{5,}/img(\d{8,})\.png")


def name_of(place: int) -> str:
    """`00012/img00012345.png` for place 12345: sorts like places do; gaps tell what was dropped."""
    return f"{place // 1000:05d}/img{place:08d}.png"


@dataclass(frozen=True)
class Prepared:
    """The report of a prepared data set, as far as others need it.

    Attributes:
        images: Places there were, before anything was dropped.
        places: Of every name, in the order of names.
        dropped: Places that were looked at and left out.
        facts: The whole report.
    """

    images: int
    places: tuple[int, ...]
    dropped: frozenset[int]
    facts: Mapping[str, Any]


def read_prepared(source: ImageSource) -> Prepared | None:
    """The report of a source that `prepare` made; None for any other.

    Raises:
        DataError: There is a report, and it does not fit the images.
    """
    if isinstance(source, LmdbSource):
        return None
    try:
        text = source.read(MEMBER)
    except DataError:
        return None
    try:
        facts = json.loads(text)
        ours = facts["format"] == FORMAT
    except (ValueError, TypeError, KeyError):
        return None  # another program's file of that name
    if not ours:
        return None
    found = [_NAME.fullmatch(name) for name in source.names]
    places = tuple(int(match[1]) for match in found if match)
    try:
        images, kept = int(facts["images"]), int(facts["kept"])
        dropped = frozenset(int(row["place"]) for row in facts["dropped_images"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"cannot make sense of {MEMBER} in {source.where()}: {error}") from error
    if len(places) != len(source.names) or len(places) != kept or list(places) != sorted(places):
        raise DataError(
            f"{source.where()} holds {len(source.names):,} images, expected the {kept:,} that its "
            f"{MEMBER} tells of and no other; prepare it again, or remove {MEMBER}"
        )
    return Prepared(images=images, places=places, dropped=dropped, facts=facts)
