"""``python -m idinvert.data prepare``: turns any set of images into a square data set, once.

Work in progress is in `OUT.partial`: a settings file, a journal with a line for each processed
image, and the images so far. Images are synced to disk before their lines, so that after a kill at
any moment the journal says how far the work is, and later images are processed again.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import PIL

from idinvert.annotations import OnCorrupt
from idinvert.data.decode import DECODER
from idinvert.data.paper_splits import PUBLISHED
from idinvert.data.pool import in_order
from idinvert.data.prepare_journal import PNG, Made, Tally, add_to_journal, make, read_journal
from idinvert.data.prepared import (
    FORMATS,
    MEMBER,
    FolderOutput,
    ZipOutput,
    names_by_place,
    names_hash,
    names_kept,
)
from idinvert.data.progress import Progress
from idinvert.data.source import ImageSource, LmdbSource, open_source
from idinvert.durable import write
from idinvert.errors import ConfigError, CorruptImageError, DataError, RunLockedError
from idinvert.untrusted import read_json, regular

Form = Literal["zip", "folder"]
UNUSABLE = {"corrupt": "damaged", "small": "too small"}
CHOICES: dict[str, tuple[str | None, ...]] = {
    "--format": ("zip", "folder"),
    "--on-corrupt": ("skip", "error"),
    "--only": (None, *PUBLISHED),
}
BLOCK = 32  # images per task of a worker and per write of the journal


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    resolution: int,
    workers: int = 1,
    form: Form | None = None,
    on_corrupt: OnCorrupt = "skip",
    limit: int | None = None,
    only: str | None = None,
    megapixels: float | None = None,
) -> dict[str, Any]:
    """Crops every image to its central square, resizes it and stores it as PNG, in order.

    Images are left out and reported if they cannot be decoded, are smaller than the resolution, or
    have the same pixels (after resizing) as an earlier image. Images keep their names and their
    order, so that splits by place remain valid; images of databases, whose keys are not names, and
    of `only`, which has gaps, are named by their place. The same command continues where one was
    stopped or killed; the result is byte for byte that of an uninterrupted run.

    Args:
        source: A folder, .zip archive or LMDB.
        out: Output: a .zip archive or a folder.
        resolution: R, pixels.
        workers: Number of processes.
        form: `zip` or `folder`; None: `zip` if `out` ends in .zip.
        on_corrupt: `skip` leaves damaged and small images out, `error` stops at the first.
        limit: Only the first `limit` images.
        only: Only the images of this data set's split, for instance `lsun_bedroom256`.
        megapixels: The largest image that is decoded; None: 134.

    Returns:
        The report.

    Raises:
        ConfigError: An argument is invalid.
        CorruptImageError: An image is damaged or small and `on_corrupt` is `error`.
        DataError: A file cannot be read or written, or the work was begun with other settings.
        RunLockedError: Another process is preparing the same output.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if form is None:
        form = "zip" if out.suffix.lower() == ".zip" else "folder"
    given: dict[str, Any]
    given = {"--resolution": resolution, "--workers": workers, "--limit": limit}
    given |= {"--format": form, "--on-corrupt": on_corrupt, "--only": only}
    _check_arguments(source, out, given)
    files = open_source(source, key="SRC", megapixels=megapixels)
    images = len(files.names) if limit is None else min(limit, len(files.names))
    places = _places(files, only) if only is not None else range(images)
    settings = {
        **({} if megapixels is None else {"megapixels": megapixels}),
        "resolution": resolution,
        "format": form,
        "limit": limit,
        "only": only,
        "names": names_hash(files.names),
        "pixels": f"decoder {DECODER}, {PNG}, Pillow {PIL.__version__}",
        **({} if only or isinstance(files, LmdbSource) else {"called": "as in SRC"}),
    }
    work = out.with_name(out.name + ".partial")
    if (done := _done(out)) is not None:
        _agreed(settings, done["settings"], there=f"{out} was made", to=out)
        if work.exists():  # a process was killed during its cleanup
            shutil.rmtree(work, ignore_errors=True)
        return done
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _alone(work, out):
            begun = work / "settings.json"
            if begun.exists():
                settings = _agreed(settings, _read(begun), there=f"{work} was begun", to=work)
            else:
                write(begun, json.dumps(settings, indent=1) + "\n")
            report = _work(
                files, out, work, places,
                images=images, settings=settings, workers=workers, on_corrupt=on_corrupt,
            )  # fmt: skip
            shutil.rmtree(work, ignore_errors=True)
    except BrokenProcessPool as error:
        raise DataError(
            "a worker was killed, most likely because memory ran out; give the same command again "
            "to continue, with a smaller --workers"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot write {out}: {error}; give the same command again to continue"
        ) from error
    return report


def report_file(out: Path) -> Path:
    """Returns the path of the report beside the data set."""
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
    kept, journal, tally = "called" in settings, work / "journal.jsonl", Tally()
    called = names_kept([files.names[p] for p in places]) if kept else names_by_place(places)

    def counted(made: Made) -> Made:
        if made.outcome in UNUSABLE and on_corrupt == "error":
            raise CorruptImageError(
                f"{made.name} in {files.where()} is {UNUSABLE[made.outcome]}: {made.detail}; mend "
                "it and give the same command again, or add --on-corrupt skip"
            )
        return tally.add(made)

    def known() -> Iterator[tuple[str, int, int]]:
        for line in read_journal(journal):
            if line.stamp != files.stamp(line.name):
                raise DataError(
                    f"{line.name} in {files.where()} has changed since {work} was begun; remove "
                    f"{work} to begin again"
                )
            if counted(line).outcome == "kept":
                yield called[tally.done - 1], line.size, line.crc

    output: ZipOutput | FolderOutput
    output = (ZipOutput if settings["format"] == "zip" else FolderOutput)(work / "images", known())
    progress = Progress("preparing", len(places), done=tally.done)
    todo = [(place, files.names[place]) for place in places[tally.done :]]
    blocks = [todo[i : i + BLOCK] for i in range(0, len(todo), BLOCK)]
    doing = partial(make, files, settings["resolution"])
    workers = workers if len(blocks) > 1 else 1
    with closing(output), closing(in_order(doing, blocks, workers=workers)) as results:
        for block in results:
            lines: list[Made] = []
            try:
                for made in block:
                    line = counted(made)
                    if line.outcome == "kept":
                        output.add(called[tally.done - 1], made.png)
                    lines.append(line)
            finally:
                output.sync()
                add_to_journal(journal, lines)
            progress.update(tally.done)
        facts = tally.facts()
        if tally.kept == 0:
            shutil.rmtree(work, ignore_errors=True)
            counts = ", ".join(f"{count:,} {kind}" for kind, count in facts["dropped"].items())
            raise DataError(
                f"none of the {tally.done:,} images of {files.where()} can be used: {counts}; "
                "change SRC or --resolution"
            )
        if kept:
            dropped = {row["place"] for row in facts["dropped_images"]}
            names = [n for place, n in zip(places, called, strict=True) if place not in dropped]
            facts["called"] = names_hash(names)
        left = {"left_out": list(files.left_out)} if files.left_out else {}
        report = {"format": FORMATS[kept], "settings": settings, "images": images, **facts, **left}
        text = json.dumps(report, indent=1) + "\n"
        output.add(MEMBER, text.encode())
        write(report_file(out), text)
        output.finish(out)
    return report


def _places(files: ImageSource, only: str) -> list[int]:
    """Returns the places of a paper's split, with the standard number of validation images."""
    split = PUBLISHED[only]
    if len(files.names) != split.images:
        raise DataError(
            f"got {len(files.names):,} images in {files.where()}, expected the {split.images:,} of "
            f"{split.title}; change SRC, or leave out --only"
        )
    parts = split.places(images=split.images, train=split.train, test=split.test, val=500)
    return sorted({place for part in parts for place in part})


def _check_arguments(source: Path, out: Path, given: Mapping[str, Any]) -> None:
    """Refuses invalid arguments of `prepare`, given by their flags.

    Raises:
        ConfigError: An argument is invalid; the message names its flag.
        DataError: `out` is inside the source.
    """
    for flag, known in CHOICES.items():
        if given[flag] not in known:
            expected = " or ".join(filter(None, known))
            raise ConfigError(f"got {given[flag]!r}, expected {expected}; change {flag}")
    if given["--format"] == "zip" and out.suffix.lower() != ".zip":
        raise ConfigError(f"got {out}, expected a name that ends in .zip; change OUT or --format")
    for flag in ("--resolution", "--workers", "--limit"):
        if given[flag] is not None and given[flag] < 1:
            raise ConfigError(f"got {given[flag]}, expected 1 or more; change {flag}")
    if given["--only"] and given["--limit"] is not None:
        raise ConfigError("got --only and --limit, expected one of them")
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise DataError(f"{out} lies in {source}, whose images it would join; change OUT")


def _done(out: Path) -> dict[str, Any] | None:
    """Returns the report of an existing data set; None if there is none.

    Raises:
        DataError: `out` exists but is something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        report = json.loads(open_source(out, key="OUT").read(MEMBER))
        if report["format"] in FORMATS and isinstance(report["settings"], dict):
            return report
    except (DataError, ValueError, TypeError, KeyError, RecursionError):
        pass
    raise DataError(f"{out} is there, and no prepared data set; remove it or change OUT")


def _read(path: Path) -> dict[str, Any]:
    """Returns the settings that work was begun with.

    Raises:
        DataError: They cannot be read.
    """
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot make sense of {path}; remove {path.parent}") from error


def _agreed(
    settings: dict[str, Any], before: Mapping[str, Any], *, there: str, to: Path
) -> dict[str, Any]:
    """Returns the settings, without `called` if an older version, which had none, began the work.

    Raises:
        DataError: Others differ from those before; names them.
    """
    if "called" not in before:
        settings = {key: value for key, value in settings.items() if key != "called"}
    differences = [
        "with other source images"
        if key == "names"
        else f"with {key} {before.get(key)!r}, got {settings.get(key)!r}"
        for key in sorted({*before, *settings})
        if before.get(key) != settings.get(key)
    ]
    if differences:
        raise DataError(
            f"{there} {'; '.join(differences)}: expected the same settings; give those, remove "
            f"{to}, or change OUT"
        )
    return settings


@contextmanager
def _alone(work: Path, out: Path) -> Iterator[None]:
    """Refuses if another process is preparing the output; a process that dies releases its lock."""
    with open(work / "lock", "a", opener=regular) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunLockedError(f"another process is preparing {out}") from error
        if not os.path.exists(work / "lock"):  # it has just finished and cleaned up
            raise RunLockedError(f"another process has just prepared {out}; look at it")
        yield
