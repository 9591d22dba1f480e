"""Records on disk: one JSON object a line, appended under a lock, read whole."""

import fcntl
import json
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from idinvert.errors import DataError
from idinvert.results.record import Record, from_dict, to_dict

FILE = "records.jsonl"


def append(path: str | Path, record: Record) -> None:
    """Add a record to a file, under a lock; it is on disk when this returns.

    A last line that a killed writer left unfinished is cut off first, with a warning: nothing that
    was ever reported as written is lost by it.

    Args:
        path: of the `.jsonl` file; made, with its folders, if it does not exist.
        record: to add.

    Raises:
        DataError: the record holds something that JSON cannot.
    """
    path = Path(path)
    try:
        line = json.dumps(to_dict(record), allow_nan=False, ensure_ascii=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise DataError(f"record of run {record.run} cannot be written as JSON: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        end = _mend(descriptor, path)
        while line:
            written = os.pwrite(descriptor, line, end)
            line, end = line[written:], end + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # also unlocks


def read_records(paths: str | Path | Iterable[str | Path]) -> list[Record]:
    """Read records in the order of the files and their lines; a line that occurs twice counts once.

    Args:
        paths: files, or folders that are searched for `records.jsonl`. One that does not exist
            holds no records: nothing was evaluated yet.

    Raises:
        DataError: a line is broken; file and line are named. Only a torn last line, from a writer
            that was killed, is left out with a warning.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    records: dict[str, Record] = {}
    for path in map(Path, given):
        for file in _files(path):
            for line, record in _read_file(file):
                records.setdefault(line, record)
    return list(records.values())


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob(FILE))
    return [path] if path.is_file() else []


def _read_file(file: Path) -> list[tuple[str, Record]]:
    content = file.read_bytes()
    lines = content.split(b"\n")
    tail = lines.pop()  # empty where the file ends in a newline
    found = [
        (text, _parse(text, file=file, number=number))
        for number, line in enumerate(lines, start=1)
        if (text := line.decode(errors="replace").strip())
    ]
    if tail.strip():
        text = tail.decode(errors="replace").strip()
        try:
            found.append((text, _parse(text, file=file, number=len(lines) + 1)))
        except DataError:
            warnings.warn(
                f"{file}: the last line is unfinished (its writer was killed); left out",
                stacklevel=3,
            )
    return found


def _parse(text: str, *, file: Path, number: int) -> Record:
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict):
            raise DataError(f"expected an object, got {type(plain).__name__}")
        return from_dict(plain)
    except (json.JSONDecodeError, DataError) as error:
        raise DataError(
            f"{file}, line {number}: not a record ({error}); mend or delete this line"
        ) from error


def _mend(descriptor: int, path: Path) -> int:
    """Where to append: behind the last whole line, after mending what a killed writer left."""
    end = os.fstat(descriptor).st_size
    content = os.pread(descriptor, end, 0)
    if not content or content.endswith(b"\n"):
        return end
    start = content.rfind(b"\n") + 1
    try:
        _parse(content[start:].decode(errors="replace"), file=path, number=0)
    except DataError:
        warnings.warn(f"{path}: cut off an unfinished last line of a killed writer", stacklevel=3)
        os.ftruncate(descriptor, start)
        return start
    os.pwrite(descriptor, b"\n", end)  # whole, only its newline is missing
    return end + 1
