"""``python -m idinvert.data prepare``: any pile of images becomes a square data set, once.

Work goes on in `OUT.partial`: a settings file, a journal with a line for each image looked at, and
the images so far. Images are put on the disk before their lines, so that after a kill at any
moment the journal says how far the work is, and what lies behind is done again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import PIL

from idinvert.data.decode import DECODER
from idinvert.data.paper_splits import PUBLISHED
from idinvert.data.prepare_image import PNG
from idinvert.data.prepare_journal import Journal, Tally, line_of
from idinvert.data.prepare_output import FolderOutput, ZipOutput, remove
from idinvert.data.prepare_settings import (
    check_arguments,
    check_done,
    check_settings,
    names_digest,
    write_whole,
)
from idinvert.data.prepare_workers import in_blocks
from idinvert.data.prepared import FORMAT, MEMBER, name_of
from idinvert.data.progress import Progress
from idinvert.data.source import ImageSource, open_source
from idinvert.data.zip_file import Entry
from idinvert.errors import CorruptImageError, DataError, RunLockedError

OnCorrupt = Literal["skip", "error"]


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    resolution: int,
    workers: int = 1,
    form: Literal["zip", "folder"] | None = None,
    on_corrupt: OnCorrupt = "skip",
    limit: int | None = None,
    only: str | None = None,
) -> dict[str, Any]:
    """Cuts every image to its central square, resizes it and stores it as PNG, in order.

    Left out and reported: what cannot be decoded, what is smaller than the resolution, and what
    has the same pixels (after resizing) as an image before it. Names carry the image's place in
    the source, so that splits by place still find theirs. The same command goes on where one
    was stopped or killed; the result is byte for byte that of an undisturbed run.

    Args:
        source: A folder, .zip archive or LMDB.
        out: What to make: a .zip archive or a folder.
        resolution: R, pixels.
        workers: Processes.
        form: `zip` or `folder`; None: `zip` where `out` ends in .zip.
        on_corrupt: `skip` leaves damaged images out, `error` stops at the first.
        limit: Only the first so many.
        only: Only the images of this data set's split, for instance `lsun_bedroom256`.

    Returns:
        The report.

    Raises:
        ConfigError: An argument makes no sense.
        CorruptImageError: An image is damaged and `on_corrupt` is `error`.
        DataError: Something cannot be read or written, or was begun with other settings.
        RunLockedError: Another process is at it.
    """
    out = Path(out).expanduser()
    form = check_arguments(
        source, out, resolution=resolution, workers=workers, form=form,
        on_corrupt=on_corrupt, limit=limit, only=only,
    )  # fmt: skip
    files = open_source(source, key="SRC")
    images = len(files.names) if limit is None else min(limit, len(files.names))
    places = _places(files, only) if only is not None else range(images)
    settings = {
        "resolution": resolution,
        "format": form,
        "limit": limit,
        "only": only,
        "names": names_digest(files.names),
        "pixels": f"decoder {DECODER}, {PNG}, Pillow {PIL.__version__}",
    }
    work = out.with_name(out.name + ".partial")
    done = check_done(out, work, settings=settings)
    if done is not None:
        return done
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _alone(work, out):
            check_settings(work / "settings.json", settings)
            report = _work(
                files, out, work, places,
                images=images, settings=settings, workers=workers, on_corrupt=on_corrupt,
            )  # fmt: skip
            remove(work)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error}; the same command goes on") from error
    return report


def report_file(out: Path) -> Path:
    """Where the report lies beside the data set."""
    return out.with_name(out.name + ".report.json")


def _work(
    files: ImageSource,
    out: Path,
    work: Path,
    places: range | list[int],
    *,
    images: int,
    settings: dict[str, Any],
    workers: int,
    on_corrupt: OnCorrupt,
) -> dict[str, Any]:
    output: ZipOutput | FolderOutput
    output = (ZipOutput if settings["format"] == "zip" else FolderOutput)(work / "images")
    journal, tally = Journal(work / "journal.jsonl"), Tally()
    for line in journal.lines():
        if line.stamp != files.stamp(line.name):
            raise DataError(
                f"{line.name} in {files.where()} has changed since {work} was begun; remove "
                f"{work} to begin again"
            )
        if line.outcome == "corrupt" and on_corrupt == "error":
            raise _damaged(files, line.name, line.detail)
        tally.add(line)
        if line.outcome == "kept":
            output.known(Entry(name_of(line.place), line.size, line.crc))
    if not output.start():
        raise DataError(f"{work} has lost images; remove it to begin again")

    progress = Progress("preparing", len(places), done=tally.done)
    todo = places[tally.done :]
    names = [files.names[place] for place in todo]
    blocks = in_blocks(files, names, resolution=settings["resolution"], workers=workers)
    try:
        for block in blocks:
            lines = []
            damaged = None
            for made in block:
                place = places[tally.done]
                if made.outcome == "corrupt" and on_corrupt == "error":
                    damaged = made
                    break
                made = tally.judged(made)
                if made.outcome == "kept":
                    output.add(name_of(place), made.png)
                lines.append(line_of(made, place=place))
                tally.add(lines[-1])
            output.sync()
            journal.add(lines)
            progress.update(tally.done)
            if damaged is not None:
                raise _damaged(files, damaged.name, damaged.detail)
        if tally.kept == 0:
            remove(work)
            raise DataError(
                f"none of the {tally.done:,} images of {files.where()} can be used: "
                f"{_counts(tally.facts()['dropped'])}; change SRC or --resolution"
            )
        report = {"format": FORMAT, "settings": settings, "images": images, **tally.facts()}
        text = json.dumps(report, indent=1) + "\n"
        output.add(MEMBER, text.encode())
        write_whole(work / "report.json", text)
        os.replace(work / "report.json", report_file(out))
        output.finish(out)
    finally:
        blocks.close()
        output.close()
    return report


def _places(files: ImageSource, only: str) -> list[int]:
    """The places of a paper's split, with the standard number of validation images."""
    split = PUBLISHED[only]
    if len(files.names) != split.images:
        raise DataError(
            f"got {len(files.names):,} images in {files.where()}, expected the {split.images:,} of "
            f"{split.title}; change SRC, or leave out --only"
        )
    parts = split.places(images=split.images, train=split.train, test=split.test, val=500)
    return sorted({place for part in parts for place in part})


def _damaged(files: ImageSource, name: str, detail: str) -> CorruptImageError:
    return CorruptImageError(
        f"{name} in {files.where()} is damaged: {detail}; mend it and give the same command "
        "again, or add --on-corrupt skip"
    )


def _counts(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in dropped.items())


@contextmanager
def _alone(work: Path, out: Path) -> Iterator[None]:
    """Refuses where another process is at work; one that dies lets go by itself."""
    with (work / "lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunLockedError(f"another process is preparing {out}") from error
        if not os.path.exists(work / "lock"):  # it has just ended, and cleared up
            raise RunLockedError(f"another process has just prepared {out}; look at it")
        yield
