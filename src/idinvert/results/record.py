"""Records: what an evaluation measured and the settings that determine it, as lines of JSON."""

import dataclasses
import fcntl
import json
import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from idinvert.errors import DataError
from idinvert.untrusted import parse_json, read_bounded, regular

FILE = "records.jsonl"
_LARGEST = 1 << 30  # bytes of a file; a record has about 2,000


def now() -> str:
    """Return the current UTC time in the format of records; these strings sort by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of `records.jsonl`.

    Attributes:
        run: run id.
        task: task name, for example `reconstruction`.
        choices: settings, for example `{"objective": "domain_guided", "encoder": "base"}`.
        metrics: metric name to value; NaN if the value is not finite.
        n: number of images measured.
        nimg: images the run had seen in training; 0 if nothing was trained.
        data: `name`, `resolution`, `fingerprint`, `split`.
        protocol: metric name to one line on how it was measured.
        checkpoints: role to sha256, for example `{"encoder": "1f2e…"}`.
        versions: package to version.
        device: description as text; for a CPU with its number of threads.
        batch_size: images per batch; None if there were no batches or it was not recorded.
        seconds: duration of the evaluation.
        created: UTC, ISO 8601; from `now()`.
        seed: seed of the run.
        command: the command that made the record.
        evaluation: hash of everything the values depend on; lets a sweep skip what is measured.
        reference: real images in distances between sets: `disjoint` (images that were not
            inverted) or `same` (the inverted images); empty without such a distance. Older
            records, which do not have this field, used `same` and are read so.
        intervals: metric name to the low and high end of its 95 % interval, if there is one.
        series: name to the numbers of a curve, for example `{"pose/recall": [0.1, …]}`; written
            only if there are any.
        extra: fields that this version does not know, kept unchanged.
    """

    run: str
    task: str
    choices: Mapping[str, Any]
    metrics: Mapping[str, float]
    n: int
    nimg: int
    data: Mapping[str, Any]
    protocol: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    batch_size: int | None = None
    seconds: float = 0.0
    created: str = field(default_factory=now)
    seed: int | None = None
    command: str = ""
    evaluation: str = ""
    reference: str = ""
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


OF_SETS = re.compile("(own_)?(swd|fid|kid|prc|fd_|kd_)")
"""Prefixes of the names of distances between sets of images."""
_FIELDS = {item.name: item for item in dataclasses.fields(Record) if item.name != "extra"}
_REQUIRED = [
    name
    for name, item in _FIELDS.items()
    if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
]
_MAPPINGS = ("choices", "metrics", "data", "protocol", "checkpoints", "versions")
_TEXTS = ("protocol", "checkpoints", "versions")
_TYPES: dict[str, Any] = {
    **dict.fromkeys((*_MAPPINGS, "intervals", "series"), Mapping),
    **dict.fromkeys(("run", "task", "device", "created", "command", "evaluation"), str),
    **dict.fromkeys(("n", "nimg"), int),
    **dict.fromkeys(("batch_size", "seed"), int | None),
    "reference": str,
    "seconds": int | float,
}


def to_dict(record: Record) -> dict[str, Any]:
    """Convert a record to plain data for JSON; values that are not finite become null."""
    plain = {name: getattr(record, name) for name in _FIELDS}
    plain["metrics"] = {name: _finite(value) for name, value in record.metrics.items()}
    for name in ("series", "evaluation", "reference", "intervals", "batch_size"):
        if not plain[name]:  # written only if set
            del plain[name]
    if record.intervals:
        plain["intervals"] = {name: list(pair) for name, pair in record.intervals.items()}
    if record.series:
        plain["series"] = {
            name: [_finite(value) for value in values] for name, values in record.series.items()
        }
    return {**plain, **record.extra}


def from_dict(plain: Mapping[str, Any]) -> Record:
    """Convert a parsed line of JSON to a record.

    Raises:
        DataError: a field is missing or has a wrong type; names the field.
    """
    missing = [name for name in _REQUIRED if name not in plain]
    if missing:
        raise DataError(f"record without {', '.join(missing)}")
    for name, types in _TYPES.items():
        if name in plain and not isinstance(plain[name], types):
            raise DataError(f"field {name!r} of a record is {type(plain[name]).__name__}")
    for name in _TEXTS:
        if not all(isinstance(value, str) for value in plain.get(name, {}).values()):
            raise DataError(f"field {name!r} of a record holds more than text")
    known = {name: value for name, value in plain.items() if name in _FIELDS}
    known["metrics"] = {
        name: _read(f"metric {name!r}", value) for name, value in plain["metrics"].items()
    }
    if "series" in known:
        known["series"] = {name: _curve(name, values) for name, values in plain["series"].items()}
    if "intervals" in known:
        known["intervals"] = {name: _pair(name, ends) for name, ends in plain["intervals"].items()}
    if not known.get("reference") and any(map(OF_SETS.match, known["metrics"])):
        known["reference"] = "same"
    return Record(**known, extra={k: v for k, v in plain.items() if k not in _FIELDS})


def _pair(name: str, ends: Any) -> tuple[float, float]:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise DataError(f"interval {name!r} of a record is {ends!r}, not a low and a high end")
    low, high = (_read(f"an end of interval {name!r}", end) for end in ends)
    return low, high


def _curve(name: str, values: Any) -> list[float]:
    if not isinstance(values, list | tuple):
        raise DataError(f"series {name!r} of a record is {type(values).__name__}, not a list")
    return [_read(f"a number in series {name!r}", value) for value in values]


def _read(what: str, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{what} of a record is {value!r}, not a number")
    return float(value)


def _finite(value: float) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None


def append(path: str | Path, record: Record) -> None:
    """Append a record to a file under a lock; it is on disk when this returns.

    An unfinished last line of a killed writer is first cut off, with a warning. This loses nothing
    that was reported as written.

    Args:
        path: the `.jsonl` file; created with its folders if it does not exist.
        record: the record to append.

    Raises:
        DataError: the record contains something that JSON cannot represent.
    """
    path = Path(path)
    try:
        line = json.dumps(to_dict(record), allow_nan=False, ensure_ascii=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise DataError(f"record of run {record.run} cannot be written as JSON: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = regular(str(path), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        end = _mend(descriptor, path)
        while line:
            written = os.pwrite(descriptor, line, end)
            line, end = line[written:], end + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # also releases the lock


def read_records(paths: str | Path | Iterable[str | Path]) -> list[Record]:
    """Read records in the order of files and lines; identical lines are read once.

    Args:
        paths: files, or folders that are searched for `records.jsonl`. A path that does not exist
            has no records: nothing was evaluated yet.

    Raises:
        DataError: a line cannot be read; names file and line. Only an unfinished last line, from a
            killed writer, is skipped with a warning.
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
    try:
        content = read_bounded(file, most=_LARGEST)
    except OSError as error:
        raise DataError(f"{file}: cannot be read as records ({error})") from error
    lines = content.split(b"\n")
    tail = lines.pop()  # empty if the file ends in a newline
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
        plain = parse_json(text)
        if not isinstance(plain, dict):
            raise DataError(f"expected an object, got {type(plain).__name__}")
        return from_dict(plain)
    except (ValueError, DataError) as error:  # JSONDecodeError is a ValueError
        raise DataError(
            f"{file}, line {number}: not a record ({error}); mend or delete this line"
        ) from error


def _mend(descriptor: int, path: Path) -> int:
    """Repair the end of a file after a killed writer; return the offset at which to append."""
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
    os.pwrite(descriptor, b"\n", end)  # the line is complete; only its newline is missing
    return end + 1
