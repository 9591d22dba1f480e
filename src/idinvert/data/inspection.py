"""``python -m idinvert.data inspect``: what a pile of images holds before any work on it."""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from idinvert.data.decode import decode
from idinvert.data.paper_splits import PUBLISHED
from idinvert.data.prepared import read_prepared
from idinvert.data.progress import Progress
from idinvert.data.source import ImageSource, open_source
from idinvert.errors import DataError

_NAMES = 5  # examples of each kind


class Look(NamedTuple):
    """What one file is; width and height upright, 0 if damaged."""

    sha256: str
    damaged: bool
    form: str
    mode: str
    width: int
    height: int


def inspect(source: str | Path) -> dict[str, Any]:
    """Decodes and hashes every image.

    Args:
        source: A folder, .zip archive, LMDB or one image.

    Returns:
        Counts: `images`, `damaged`, `formats`, `modes`, `sizes` ("WIDTHxHEIGHT", most frequent
        first), `shorter_side` (least, greatest), `square`, `duplicates` (files whose bytes are
        those of one before them), with the first few names of `damaged_names` and
        `duplicate_names` (pairs); `prepared` for what `prepare` made; `published`, the paper's
        data sets that have as many images.

    Raises:
        DataError: Nothing is there, or it holds no image.
    """
    files = open_source(source, key="SRC")
    progress = Progress("looking", len(files.names))
    looks: list[Look] = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for look in pool.map(lambda name: _look(files, name), files.names):
            looks.append(look)
            progress.update(len(looks))
    first: dict[str, str] = {}
    twins: list[tuple[str, str]] = []
    for name, look in zip(files.names, looks, strict=True):
        if look.sha256 and first.setdefault(look.sha256, name) != name:
            twins.append((first[look.sha256], name))
    whole = [look for look in looks if not look.damaged]
    damaged = [name for name, look in zip(files.names, looks, strict=True) if look.damaged]
    sides = [min(look.width, look.height) for look in whole]
    prepared = read_prepared(files)
    count = len(files.names) if prepared is None else prepared.images
    return {
        "source": files.where(),
        "images": len(files.names),
        "damaged": len(damaged),
        "damaged_names": damaged[:_NAMES],
        "formats": dict(Counter(look.form for look in whole).most_common()),
        "modes": dict(Counter(look.mode for look in whole).most_common()),
        "sizes": dict(Counter(f"{look.width}x{look.height}" for look in whole).most_common()),
        "shorter_side": [min(sides), max(sides)] if sides else None,
        "square": sum(look.width == look.height for look in whole),
        "duplicates": len(twins),
        "duplicate_names": twins[:_NAMES],
        "prepared": None if prepared is None else dict(prepared.facts["settings"]),
        "published": [name for name, split in PUBLISHED.items() if split.images == count],
    }


def in_lines(facts: dict[str, Any]) -> list[str]:
    """`inspect`'s findings for people."""
    sides, sizes = facts["shorter_side"], list(facts["sizes"].items())
    lines = [
        f"{facts['source']}: {facts['images']:,} images, {facts['damaged']:,} damaged, "
        f"{facts['duplicates']:,} duplicates"
    ]
    lines += [f"  damaged    {name}" for name in facts["damaged_names"]]
    lines += [f"  duplicate  {name} is {first}" for first, name in facts["duplicate_names"]]
    lines += [f"formats   {_counted(facts['formats'])}", f"modes     {_counted(facts['modes'])}"]
    if sides:
        lines.append(f"sizes     {len(sizes):,}; {_counted(dict(sizes[:_NAMES]))}")
        lines.append(f"shorter   {sides[0]:,} to {sides[1]:,} pixels; {facts['square']:,} square")
    if facts["prepared"]:
        made = ", ".join(f"{k} {v}" for k, v in facts["prepared"].items() if k != "names" and v)
        lines.append(f"prepared  {made}")
    lines += [f"as many images as {name}: data={name} data.path=…" for name in facts["published"]]
    return lines


def _look(source: ImageSource, name: str) -> Look:
    try:
        data = source.read(name)
    except DataError:
        return Look("", True, "", "", 0, 0)
    digest = hashlib.sha256(data).hexdigest()
    try:
        width, height = decode(data, name=name).size
        with Image.open(io.BytesIO(data)) as image:
            return Look(digest, False, str(image.format), image.mode, width, height)
    except DataError:
        return Look(digest, True, "", "", 0, 0)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "–"
