"""Weights by name into the cache folder: downloaded, or copied from where they already lie."""

import os
import shutil
from difflib import get_close_matches
from pathlib import Path

from idinvert.checkpoints.download import DownloadError, download
from idinvert.checkpoints.published import CHECKPOINTS
from idinvert.checkpoints.registry import (
    ENTRIES,
    Entry,
    cache_folder,
    digest_in_words,
    size_in_words,
)
from idinvert.data.content import file_hash
from idinvert.errors import CheckpointError, MissingWeightsError

MIRROR = "IDINVERT_MIRROR"
"""Addresses of folders that hold the same files by their names, asked before the publisher."""


def all_entries() -> dict[str, Entry]:
    """What can be fetched: networks that the code asks for, and published checkpoints."""
    return ENTRIES | CHECKPOINTS


def entry_of(name: str) -> Entry:
    """The entry of a name.

    Raises:
        CheckpointError: There is none; the message names the nearest.
    """
    entries = all_entries()
    if name not in entries:
        near = get_close_matches(name, entries, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise CheckpointError(
            f"weights: got name {name!r}, {hint}expected a name that "
            "python -m idinvert.checkpoints list shows"
        )
    return entries[name]


def fetch(name: str, *, source: str | Path | None = None, attempts: int = 3) -> Path:
    """Brings weights into the cache folder; a file that is there already is only checked.

    Args:
        name: A name of `all_entries`.
        source: A file, or a folder that holds it by its name, to copy it from; None downloads it,
            first from the mirrors in the environment variable ``IDINVERT_MIRROR``.
        attempts: As in `idinvert.checkpoints.download.download`.

    Returns:
        Where the file lies.

    Raises:
        MissingWeightsError: It could not be had; the message says what was tried, and what to do.
        CheckpointError: Unknown name, or a file with another sha256; it is not kept.
    """
    entry = entry_of(name)
    target = cache_folder() / entry.filename
    if target.is_file() and source is None:
        _require_digest(target, entry, of="the file in the cache", advice="Delete it")
        return target
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source is not None:
            partial = target.with_name(f"{target.name}.copy")
            shutil.copyfile(_local(entry, Path(source).expanduser()), partial)
        else:
            _from_addresses(entry, partial, attempts=attempts)
        _require_digest(partial, entry, of="what came", advice="It was deleted", delete=True)
        os.replace(partial, target)
    except OSError as error:
        raise MissingWeightsError(
            f"{target}: could not be copied or written ({error}); free some space or set "
            "IDINVERT_CACHE to another folder"
        ) from error
    return target


def addresses(entry: Entry) -> list[str]:
    """Where to ask for a file, in order: mirrors, then its publisher."""
    mirrors = os.environ.get(MIRROR, "").split()
    return [*(f"{mirror.rstrip('/')}/{entry.filename}" for mirror in mirrors), entry.url]


def _from_addresses(entry: Entry, partial: Path, *, attempts: int) -> None:
    reasons = []
    for url in addresses(entry):
        try:
            download(url, partial, attempts=attempts)
            return
        except DownloadError as error:
            reasons.append(str(error))
    tried = "\n  ".join(reasons)
    raise MissingWeightsError(
        f"weights {entry.name!r} could not be downloaded:\n  {tried}\n"
        f"  file:    {entry.filename} ({size_in_words(entry)}, {entry.licence})\n"
        f"  sha256:  {digest_in_words(entry)}\n"
        f"Give the same command again to go on; or bring the file here by other means and run "
        f"python -m idinvert.checkpoints fetch {entry.name} --from FILE; or name a folder that "
        f"holds it on a server with {MIRROR}=https://…"
    )


def _local(entry: Entry, source: Path) -> Path:
    """The file that ``--from`` leads to."""
    file = source / entry.filename if source.is_dir() else source
    if not file.is_file():
        raise MissingWeightsError(
            f"weights {entry.name!r}: {file} (from --from) is no file; give the file itself, or a "
            f"folder that holds {entry.filename}"
        )
    return file


def _require_digest(
    path: Path, entry: Entry, *, of: str, advice: str, delete: bool = False
) -> None:
    found = file_hash(path)
    if found.startswith(entry.sha256):
        return
    if delete:
        path.unlink(missing_ok=True)
    raise CheckpointError(
        f"{path}: {of} has sha256 {found[:16]}…, expected {entry.sha256[:16]}…; it is damaged or "
        f"another file than {entry.name}. {advice} and fetch it anew (--from FILE for a local copy)"
    )
