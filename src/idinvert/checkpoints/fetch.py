"""Fetches weights by name into the cache folder: downloads them, or copies local files.

A download is resumable: received bytes are kept, and the next attempt continues from there.
"""

import fcntl
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import urlsplit

import idinvert
from idinvert.checkpoints.registry import (
    CHECKPOINTS,
    ENTRIES,
    Entry,
    digest_in_words,
    require_digest,
    size_in_words,
)
from idinvert.data.content import weights_cache_dir
from idinvert.data.progress import Progress
from idinvert.durable import move, write
from idinvert.errors import CheckpointError, MissingWeightsError
from idinvert.untrusted import read_json, regular

MIRROR = "IDINVERT_MIRROR"
"""Environment variable: URLs of folders with the same files, tried before the publisher."""

_AGAIN = "fetch it anew (--from FILE for a local copy)"
_CHUNK = 1 << 20  # bytes
_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status codes that may be temporary."""


def all_entries() -> dict[str, Entry]:
    """Returns all entries: networks used by the code, and published checkpoints."""
    return ENTRIES | CHECKPOINTS


def entry_of(name: str) -> Entry:
    """Returns the entry with this name.

    Raises:
        CheckpointError: There is none; the message has the nearest names.
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
    """Fetches weights into the cache folder; a file that is already there is only verified.

    Args:
        name: A name of `all_entries`.
        source: A file to copy, or a folder that contains it under its name; None downloads it,
            first from the mirrors in the environment variable ``IDINVERT_MIRROR``.
        attempts: As in `download`.

    Returns:
        Path of the cached file.

    Raises:
        MissingWeightsError: Not obtained; the message says what was tried, and what to do.
        CheckpointError: Unknown name, or a file with another sha256, which is not kept.
    """
    entry = entry_of(name)
    target = weights_cache_dir() / entry.filename
    if target.is_file() and source is None:
        require_digest(target, entry, advice=f"It lies in the cache: delete it and {_AGAIN}")
        return target
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source is not None:
            partial = target.with_name(f"{target.name}.copy")
            shutil.copyfile(_local(entry, Path(source).expanduser()), partial)
        else:
            _from_addresses(entry, partial, attempts=attempts)
        try:
            require_digest(partial, entry, advice=f"It was deleted: {_AGAIN}")
        except CheckpointError:
            partial.unlink(missing_ok=True)
            raise
        move(partial, target)
    except OSError as error:
        raise MissingWeightsError(
            f"{target}: could not be copied or written ({error}); free some space or set "
            "IDINVERT_CACHE to another folder"
        ) from error
    return target


def addresses(entry: Entry) -> list[str]:
    """Returns the URLs of a file in the order to try: mirrors, then its publisher."""
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
        f"Give the same command again to continue; or copy the file to this machine and run "
        f"python -m idinvert.checkpoints fetch {entry.name} --from FILE; or name a folder that "
        f"holds it on a server with {MIRROR}=https://…"
    )


def _local(entry: Entry, source: Path) -> Path:
    """Returns the file given by ``--from``."""
    file = source / entry.filename if source.is_dir() else source
    if not file.is_file():
        raise MissingWeightsError(
            f"weights {entry.name!r}: {file} (from --from) is no file; give the file itself, or a "
            f"folder that holds {entry.filename}"
        )
    return file


class DownloadError(MissingWeightsError):
    """A URL did not yield the file; the message says why, without the name of the weights."""


@dataclass(frozen=True)
class _Answer:
    """The beginning of a server's response.

    Args:
        body: The bytes from `start` on.
        start: Position of the first byte.
        total: Length of the whole file, None if the server does not say.
        validator: Identifies this version of the file, "" if the server gives nothing.
    """

    body: IO[bytes]
    start: int
    total: int | None
    validator: str


def download(url: str, partial: Path, *, attempts: int = 3, timeout: float = 60.0) -> None:
    """Downloads a file to ``partial``; bytes of the same version are not downloaded again.

    Args:
        url: http or https.
        partial: Output file; kept if the download fails, with a note of its version in
            ``<partial>.json``.
        attempts: Number of successive connections without a new byte before it fails.
        timeout: Seconds without a byte after which a connection counts as broken.

    Raises:
        DownloadError: It failed, or another process is downloading the same file.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url}: got scheme {urlsplit(url).scheme!r}, expected http or https")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "a+b", opener=regular) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(f"{partial} is being fetched by another process") from None
        left = attempts
        while True:
            before = file.seek(0, 2)
            try:
                if _attempt(url, file, note=_note_of(partial), timeout=timeout):
                    break
                reason = "the connection ended early"
            except urllib.error.HTTPError as error:
                if error.code not in _PASSING:
                    raise DownloadError(f"{url}: answered {error.code} {error.reason}") from error
                reason = f"answered {error.code} {error.reason}"
            except (OSError, http.client.HTTPException) as error:  # URLError and timeouts included
                reason = str(getattr(error, "reason", "") or error or type(error).__name__)
            left = attempts if file.seek(0, 2) > before else left - 1
            if left == 0:
                raise DownloadError(f"{url}: {reason}; {before:,} bytes are kept for the next time")
    _note_of(partial).unlink(missing_ok=True)


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _attempt(url: str, file: BinaryIO, *, note: Path, timeout: float) -> bool:
    """Makes one connection; returns whether the file is complete after it."""
    there = file.seek(0, 2)
    known = _read_note(note)
    if there and (known.get("url") != url or not known.get("validator")):
        there = 0  # bytes of unknown origin are discarded
    with ExitStack() as stack:
        answer = _ask(url, there, validator=known.get("validator", ""), timeout=timeout)
        if answer is None:
            return True
        stack.callback(answer.body.close)
        file.truncate(answer.start)
        write(note, json.dumps({"url": url, "validator": answer.validator}))
        _require_space(note.parent, needed=(answer.total or 0) - answer.start, url=url)
        label = note.name.removesuffix(".json").removesuffix(".partial")
        bar = Progress(label, answer.total, done=answer.start, unit="bytes")
        while chunk := answer.body.read(_CHUNK):
            file.write(chunk)
            bar.update(file.tell())
        file.flush()
    return answer.total is None or file.seek(0, 2) >= answer.total


def _ask(url: str, there: int, *, validator: str, timeout: float) -> _Answer | None:
    """Opens the connection; returns None if nothing is left to download."""
    headers = {"User-Agent": f"idinvert/{idinvert.__version__}", "Accept-Encoding": "identity"}
    if there:
        headers |= {"Range": f"bytes={there}-", "If-Range": validator}
    opener = urllib.request.build_opener(_StaySecure)
    try:
        body = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        ends = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if error.code == 416 and there and ends and int(ends[1]) == there:
            return None  # all bytes had been received before
        if error.code == 416 and there:
            return _ask(url, 0, validator="", timeout=timeout)
        raise
    if body.headers.get_content_type() == "text/html":
        body.close()
        raise DownloadError(
            f"{url}: answered with a web page in place of the file, as Google Drive does when it "
            "wants a confirmation or its quota is used up; open the address in a browser, save the "
            "file and give it with --from FILE"
        )
    length = body.headers.get("Content-Length")
    total = int(length) if length and length.isdigit() else None
    start = 0
    if body.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", body.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != there:
            body.close()
            raise DownloadError(f"{url}: sent another part of the file than was asked for")
        start, total = there, None if span[2] == "*" else int(span[2])
    return _Answer(body, start, total, _validator(body.headers))


def _validator(headers: http.client.HTTPMessage) -> str:
    """Returns a strong ETag, or the date of the last change; "" if there is neither."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _read_note(note: Path) -> dict[str, str]:
    try:
        found = read_json(note)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _require_space(folder: Path, *, needed: int, url: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{url}: needs {needed / 1e6:,.0f} MB and {folder} has {free / 1e6:,.0f} MB left; free "
            "some space or set IDINVERT_CACHE to another folder"
        )


class _StaySecure(urllib.request.HTTPRedirectHandler):
    """Refuses redirects from https to anything else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadError(f"{req.full_url}: leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
