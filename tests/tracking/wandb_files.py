"""Reads back what W&B wrote to the disk, without W&B's own reader, whose place changes."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
WHOLE, FIRST, LAST = 1, 2, 4


def records(path: Path) -> list[Any]:
    """The records of a run that has ended; W&B's own process writes the last a moment later."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = list(written(path))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"{path} was not ended")


def written(path: Path) -> Iterator[Any]:
    """The records so far of a ``.wandb`` file: a LevelDB log (crc, length, kind; 32 KiB blocks)."""
    data, position, parts = path.read_bytes(), HEADER, b""
    assert data.startswith(b":W&B")
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        body = data[position + 7 : position + 7 + length]
        position += 7 + length
        parts = body if kind in (WHOLE, FIRST) else parts + body
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def history(path: Path) -> list[dict[str, Any]]:
    """The logged rows; of pictures and tables, their fields as ``key.field``."""
    rows = []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = {".".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            rows.append({name: json.loads(value) for name, value in items.items()})
    return rows


def run_of(path: Path) -> Any:
    """The run's own record: id, group, job type, tags, name."""
    return next(r.run for r in records(path) if r.WhichOneof("record_type") == "run")


def config_of(path: Path) -> dict[str, Any]:
    """The run's configuration, with what was added later."""
    found: dict[str, Any] = {}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        source = record.run.config if kind == "run" else record.config
        if kind in ("run", "config"):
            for update in source.update:
                found[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
    return found


def artifacts_of(path: Path) -> dict[str, Any]:
    """The artifacts that were logged, by name."""
    kinds = [(record.WhichOneof("record_type"), record) for record in records(path)]
    found = {record.artifact.name: record.artifact for kind, record in kinds if kind == "artifact"}
    requests = [record.request for kind, record in kinds if kind == "request"]
    for request in requests:
        if request.WhichOneof("request_type") == "log_artifact":
            found[request.log_artifact.artifact.name] = request.log_artifact.artifact
    return found


def table_of(path: Path, key: str) -> tuple[list[dict[str, Any]], set[str]]:
    """A logged table with its pictures, which W&B keeps as an artifact, and the files beside it.

    The copy in the run's own folder says only "Image" where a picture stands.
    """
    (found,) = (a for name, a in artifacts_of(path).items() if name.endswith(f"-{key}"))
    files = {entry.path: Path(entry.local_path) for entry in found.manifest.contents}
    plain = json.loads(files[f"{key}.table.json"].read_text())
    lines = [dict(zip(plain["columns"], line, strict=True)) for line in plain["data"]]
    return lines, {name for name, file in files.items() if file.is_file()}


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The rows of figures: without what W&B adds (``_step``, …) and without pictures."""
    plain = [
        {
            name: value
            for name, value in row.items()
            if name[0] != "_" and isinstance(value, int | float)
        }
        for row in rows
        if not any("." in name for name in row)
    ]
    return [row for row in plain if set(row) - {"nimg"}]
