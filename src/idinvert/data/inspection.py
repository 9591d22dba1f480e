"""``python -m idinvert.data inspect``: facts about a set of images before any work on it."""

from collections import Counter
from pathlib import Path
from typing import Any

from idinvert.data.paper_splits import PUBLISHED
from idinvert.data.prepared import read_prepared
from idinvert.data.scan import scan
from idinvert.data.source import open_source

_NAMES = 5  # examples of each kind


def inspect(source: str | Path, *, megapixels: float | None = None) -> dict[str, Any]:
    """Decodes and hashes every image.

    Args:
        source: A folder, .zip archive, LMDB or one image.
        megapixels: The largest image that is decoded; None: 134.

    Returns:
        Counts: `images`, `damaged`, `formats`, `modes`, `sizes` ("WIDTHxHEIGHT", most frequent
        first), `shorter_side` (minimum, maximum), `square`, `duplicates` (files with the same bytes
        as an earlier one), with the first few names as `damaged_names` and `duplicate_names`
        (pairs); `damage`, a line for each of `damaged_names`; `left_out`, counts of unsupported
        files by kind; `prepared` for an output of `prepare`; `published`, the paper's data sets
        with the same number of images.

    Raises:
        DataError: The source does not exist or contains no image.
    """
    files = open_source(source, key="SRC", megapixels=megapixels)
    findings = scan(files, cache_dir=None, patience=0.0)
    first: dict[str, str] = {}
    twins: list[tuple[str, str]] = []
    for name, found in findings.items():
        if found.sha256 and first.setdefault(found.sha256, name) != name:
            twins.append((first[found.sha256], name))
    whole = [found for found in findings.values() if not found.damage]
    damaged = [name for name, found in findings.items() if found.damage]
    sides = [min(found.width, found.height) for found in whole]
    prepared = read_prepared(files)
    count = len(files.names) if prepared is None else prepared.images
    return {
        "source": files.where(),
        "images": len(files.names),
        "damaged": len(damaged),
        "damaged_names": damaged[:_NAMES],
        "damage": [findings[name].damage for name in damaged[:_NAMES]],
        "left_out": list(files.left_out),
        "formats": dict(Counter(found.form for found in whole).most_common()),
        "modes": dict(Counter(found.mode for found in whole).most_common()),
        "sizes": dict(Counter(f"{found.width}x{found.height}" for found in whole).most_common()),
        "shorter_side": [min(sides), max(sides)] if sides else None,
        "square": sum(found.width == found.height for found in whole),
        "duplicates": len(twins),
        "duplicate_names": twins[:_NAMES],
        "prepared": None if prepared is None else dict(prepared.settings),
        "published": [name for name, split in PUBLISHED.items() if split.images == count],
    }


def in_lines(facts: dict[str, Any]) -> list[str]:
    """Formats the facts of `inspect` as lines of text."""
    sides, sizes = facts["shorter_side"], list(facts["sizes"].items())
    lines = [
        f"{facts['source']}: {facts['images']:,} images, {facts['damaged']:,} damaged, "
        f"{facts['duplicates']:,} duplicates"
    ]
    lines += [f"  not read   {line}" for line in facts["left_out"]]
    lines += [f"  damaged    {why.split('; expected a whole')[0]}" for why in facts["damage"]]
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


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "–"
