"""What a preparation was told: sense of it, and whether it is what the work was begun with."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from idinvert.data.paper_splits import PUBLISHED
from idinvert.data.prepare_output import remove
from idinvert.data.prepared import FORMAT, MEMBER
from idinvert.data.source import open_source
from idinvert.errors import ConfigError, DataError

Form = Literal["zip", "folder"]


def check_arguments(
    source: str | Path,
    out: Path,
    *,
    resolution: int,
    workers: int,
    form: str | None,
    on_corrupt: str,
    limit: int | None,
    only: str | None,
) -> Form:
    """Refuses what makes no sense; arguments as in `prepare.prepare`.

    Returns:
        The form, by the name of `out` where none is given.

    Raises:
        ConfigError: An argument makes no sense; the message names its flag.
        DataError: `out` lies where it cannot.
    """
    if form is None:
        form = "zip" if out.suffix.lower() == ".zip" else "folder"
    if form not in ("zip", "folder"):
        raise ConfigError(f"got {form!r}, expected zip or folder; change --format")
    if form == "zip" and out.suffix.lower() != ".zip":
        raise ConfigError(f"got {out}, expected a name that ends in .zip; change OUT or --format")
    if on_corrupt not in ("skip", "error"):
        raise ConfigError(f"got {on_corrupt!r}, expected skip or error; change --on-corrupt")
    for flag, count in (("--resolution", resolution), ("--workers", workers), ("--limit", limit)):
        if count is not None and count < 1:
            raise ConfigError(f"got {count}, expected 1 or more; change {flag}")
    if only is not None and only not in PUBLISHED:
        raise ConfigError(f"got {only!r}, expected {', '.join(PUBLISHED)}; change --only")
    if only is not None and limit is not None:
        raise ConfigError("got --only and --limit, expected one of them")
    inside = Path(source).expanduser().resolve()
    if inside == out.resolve() or inside in out.resolve().parents:
        raise DataError(f"{out} lies in {source}, whose images it would join; change OUT")
    return "zip" if form == "zip" else "folder"


def names_digest(names: Sequence[str]) -> str:
    """SHA-256, hex, of the list of names."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def check_done(out: Path, work: Path, *, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report of a data set that is there already; None if there is none.

    Raises:
        DataError: There is something else, or it was made with other settings.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        report = json.loads(open_source(out, key="OUT").read(MEMBER))
        ours = report["format"] == FORMAT
    except (DataError, ValueError, TypeError, KeyError):
        ours = False
    if not ours:
        raise DataError(f"{out} is there, and no prepared data set; remove it or change OUT")
    _compare(report["settings"], settings, there=f"{out} was made", remedy=f"{out}")
    if work.exists():  # a process was killed when it cleared up
        remove(work)
    return report


def check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Keeps the settings at the first start, and compares them at every other.

    Raises:
        DataError: They differ.
    """
    if not path.exists():
        write_whole(path, json.dumps(settings, indent=1) + "\n")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"cannot make sense of {path}; remove {path.parent}") from error
    _compare(before, settings, there=f"{path.parent} was begun", remedy=f"{path.parent}")


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is never seen unfinished."""
    temporary = path.with_name(f"{path.name}.tmp")  # one process at a time
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], *, there: str, remedy: str) -> None:
    """Refuses other settings, naming them."""
    differences = [
        "with other source images"
        if key == "names"
        else f"with {key} {before.get(key)!r}, got {now.get(key)!r}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if differences:
        raise DataError(
            f"{there} {'; '.join(differences)}: expected the same settings; give those, remove "
            f"{remedy}, or change OUT"
        )
