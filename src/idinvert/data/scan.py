"""Decodes and hashes every file once, before any work: content, size, damage; keeps an index."""

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from idinvert.data.content import forgotten
from idinvert.data.decode import DECODER, read
from idinvert.data.formats import FORMATS
from idinvert.data.pool import cores
from idinvert.data.progress import Progress
from idinvert.data.source import ImageSource
from idinvert.durable import write
from idinvert.errors import DataError
from idinvert.untrusted import memory_bytes, read_bounded


class Finding(NamedTuple):
    """Facts about one file.

    Attributes:
        stamp: The source's stamp of the file when it was read.
        sha256: sha256 of the file's bytes, hex; empty if they cannot be read.
        width: Pixels, upright; 0 if damaged.
        height: Pixels, upright; 0 if damaged.
        damage: Why it cannot be decoded; empty if it can.
        form: Format of the file, for instance `PNG`; empty if damaged.
        mode: Mode of the stored pixels, for instance `RGBA`; empty if damaged.
        decoder: Version of the decoder for these pixels; see `decode.DECODER`.
    """

    stamp: str
    sha256: str
    width: int
    height: int
    damage: str = ""
    form: str = ""
    mode: str = ""
    decoder: int = 1


def scan(
    source: ImageSource,
    *,
    cache_dir: Path | None,
    names: Sequence[str] | None = None,
    patience: float = 2.0,
) -> dict[str, Finding]:
    """Decodes and hashes files of `source`, except those unchanged since the last time.

    In the context of `content.computed_anew` all of them are read again.

    Args:
        source: The files.
        cache_dir: Folder of the index; None for no index.
        names: Names of the files; None for all.
        patience: Seconds before progress is shown.

    Returns:
        A finding for every name, in the same order.
    """
    names = source.names if names is None else names
    index = None if cache_dir is None else _index_file(source, cache_dir)
    known = {} if index is None or forgotten(index) else _load(index)
    stamps = {name: source.stamp(name) for name in names}
    fresh = [name for name in names if name not in known or known[name].stamp != stamps[name]]
    progress = Progress("checking images", len(fresh), patience=patience)
    with ThreadPoolExecutor(max_workers=min(8, cores())) as pool:
        findings = pool.map(lambda name: _look(source, name, stamps[name]), fresh)
        for done, (name, finding) in enumerate(zip(fresh, findings, strict=True), start=1):
            known[name] = finding
            progress.update(done)
    if index is not None and fresh:
        # A file that could not be read may be readable next time without a new stamp.
        kept = {n: known[n] for n in source.names if n in known and known[n].sha256}
        try:
            write(index, json.dumps(kept))
        except OSError as error:
            sys.stderr.write(f"cannot keep the image index {index}: {error}\n")
    return {name: known[name] for name in names}


def left_out_words(damaged: int, small: int) -> str:
    """Returns the counts as text: `1 damaged file and 2 small ones`."""
    words = [f"{damaged:,} damaged file{'s' * (damaged > 1)}"] if damaged else []
    words += [f"{small:,} small file{'s' * (small > 1)}"] if small else []
    return " and ".join(words)


def reason(name: str, damage: str) -> str:
    """Returns why a file is left out, without the advice that is the same for all files."""
    told = damage.removeprefix(f"cannot decode {name}: ")
    return re.split("; expected a whole file|, or leave it out with", told)[0]


def _look(source: ImageSource, name: str, stamp: str) -> Finding:
    sha256 = ""
    try:
        data = source.read(name)
        sha256 = hashlib.sha256(data).hexdigest()
        found = read(data, name=name, most=source.most_pixels)
    except DataError as error:
        return Finding(stamp, sha256, 0, 0, str(error))
    return Finding(stamp, sha256, *found.image.size, "", found.form, found.mode, found.decoder)


def _index_file(source: ImageSource, cache_dir: Path) -> Path:
    # Which files count as damaged depends on the supported formats and on the limit.
    ways = f"{DECODER} {' '.join(FORMATS)} {source.most_pixels}"
    text = f"{ways}\n{source.where()}".encode("utf-8", "surrogateescape")
    key = hashlib.sha256(text).hexdigest()[:16]
    return cache_dir / "index" / f"{key}.json"


def _load(index: Path) -> dict[str, Finding]:
    """Returns the stored findings; a missing or broken index counts as empty."""
    try:
        stored = json.loads(read_bounded(index, most=memory_bytes()))
        return {name: Finding._make(row) for name, row in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
