"""Logs the results of evaluations and tables to W&B: metrics, per-image values, pictures."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from idinvert.tracking.artifacts import made_artifact
from idinvert.tracking.wandb_run import TrackedRun
from idinvert.untrusted import read_json

if TYPE_CHECKING:
    import wandb

PICTURES = 20
"""Maximum number of pictures logged from a folder."""
SHOWN = "shown.safetensors"
"""The first images of an evaluation: ``target``, ``encoder``, ``inverted``, uint8 [m, 3, R, R]."""
ROWS = 10_000
"""Maximum number of rows of a table, which is W&B's default limit."""
_PART = re.compile(r"part-(\d+)-(\d+)")


@dataclass(frozen=True)
class Result:
    """The output of a task.

    Attributes:
        record: The record as plain values; None for a task that measures nothing.
        folder: Folder of its files; None if it writes none.
    """

    record: Mapping[str, Any] | None
    folder: Path | None


def log_results(
    tracked: TrackedRun, results: Sequence[Result], *, evaluation: str, images: int
) -> None:
    """Logs the results of one evaluation.

    Each record is a row ``<task>/<metric>`` at its ``nimg``; if there are several, ``record`` is
    its index. The table ``records`` contains all records, ``series`` their curves, ``per_image``
    the per-image values. Pictures are ``<task>/<file>``. The records and the codes are artifacts.

    Args:
        tracked: The run.
        results: The results, in the order in which they were made.
        evaluation: The evaluation's hash; its artifact is ``record-<hash>``.
        images: Rows of ``per_image`` that show pictures.
    """
    records = [result.record for result in results if result.record is not None]
    for place, record in enumerate(records):
        metrics = {f"{record['task']}/{name}": value for name, value in record["metrics"].items()}
        row = {name: value for name, value in metrics.items() if value is not None}
        tracked.log(
            row | {"nimg": record["nimg"]} | ({"record": place} if len(records) > 1 else {})
        )
    if records:
        tables = {"records": records_table(records)} | _series(records)
        tracked.log(tables | {"nimg": records[0]["nimg"]})
        lines = "".join(json.dumps(record) + "\n" for record in records)
        facts = {"runs": sorted({record["run"] for record in records})}
        content = {"records.jsonl": lines}
        tracked.artifact(made_artifact(f"record-{evaluation}", "record", content, facts=facts))
    seen: set[Path] = set()
    for result in results:
        if result.folder is not None and result.folder not in seen:
            seen.add(result.folder)
            _log_folder(tracked, result, images=images)


def records_table(records: Sequence[Mapping[str, Any]]) -> "wandb.Table":
    """One row per record: task, method, data, run, metrics and choices."""
    import wandb

    metrics = list(dict.fromkeys(name for record in records for name in record["metrics"]))
    columns = ["record", "task", "inversion", "data", "n", "run", "nimg", "seed"]
    table = wandb.Table(columns=[*columns, *metrics, "choices"])
    for place, record in enumerate(records):
        inversion = record["choices"].get("inversion") or {}
        name = inversion.get("name") if isinstance(inversion, Mapping) else str(inversion)
        known = [place, record["task"], name, record["data"].get("name"), record["n"]]
        known += [record["run"], record["nimg"], record.get("seed")]
        values = [record["metrics"].get(metric) for metric in metrics]
        table.add_data(*known, *values, json.dumps(record["choices"], sort_keys=True))
    return table


def _series(records: Sequence[Mapping[str, Any]]) -> "dict[str, wandb.Table]":
    """The table ``series`` of the records' curves, one row per number; empty if there are none."""
    import wandb

    lines = [
        [place, name, index, value]
        for place, record in enumerate(records)
        for name, values in (record.get("series") or {}).items()
        for index, value in enumerate(values)
    ]
    columns: list[str | int] = ["record", "series", "index", "value"]
    return {"series": wandb.Table(columns=columns, data=lines)} if lines else {}


def _log_folder(tracked: TrackedRun, result: Result, *, images: int) -> None:
    """Logs the per-image values, pictures and codes in a task's folder."""
    import wandb

    folder, record = result.folder, result.record
    assert folder is not None
    task = record["task"] if record is not None else folder.name
    row: dict[str, Any] = {}
    table = per_image_table(folder, images=images)
    if table is not None:
        row["per_image"] = table
    for path in sorted(folder.glob("*.png"))[:PICTURES]:
        row[f"{task}/{path.stem}"] = wandb.Image(str(path))
    if row:
        tracked.log(row | {"nimg": record["nimg"] if record is not None else 0})
    codes = folder / "codes.safetensors"
    if codes.is_file() and record is not None and tracked.uploads:
        name = f"codes-{record['run']}-{record['data'].get('name')}"
        facts = {"checkpoints": dict(record["checkpoints"]), "data": dict(record["data"])}
        tracked.artifact(made_artifact(name, "codes", {codes.name: codes}, facts=facts))


def log_table(
    tracked: TrackedRun,
    *,
    name: str,
    columns: Sequence[str],
    lines: Sequence[Sequence[Any]],
    files: Sequence[Path],
    records: Mapping[str, Mapping[str, Any]],
) -> None:
    """Logs a rendered table as a W&B table, and its files as the artifact ``table-<name>``.

    Args:
        tracked: The run.
        name: The table's name and scale.
        columns: Names of the columns.
        lines: Rows of the table.
        files: The table in every format; PNG files are also shown as pictures.
        records: Evaluation hash to record, for the records that the table shows; each is an input.
    """
    import wandb

    tracked.configure({"inputs": {"records": sorted(records)}})
    for evaluation in sorted(filter(None, records)):
        tracked.use(f"record-{evaluation}", "latest")
    shown = wandb.Table(columns=list(columns), data=[list(line) for line in lines])
    row: dict[str, Any] = {"table": shown}
    row |= {path.stem: wandb.Image(str(path)) for path in files if path.suffix == ".png"}
    tracked.log(row)
    facts = {"records": len(records)}
    tracked.artifact(
        made_artifact(f"table-{name}", "table", {path.name: path for path in files}, facts=facts)
    )


def per_image_table(folder: Path, *, images: int) -> "wandb.Table | None":
    """One row per image, from ``per_image.csv``, ``parts/`` and ``shown.safetensors``.

    Args:
        folder: The folder of an evaluation.
        images: Number of first rows that show target, encoder's reconstruction and inversion.

    Returns:
        The table; None if the evaluation has no per-image values.
    """
    import wandb

    path = folder / "per_image.csv"
    if not path.is_file():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file))
    seconds = _seconds(folder / "parts")
    shown = _shown(folder / SHOWN, images)
    table = wandb.Table(columns=[*header, "seconds", *shown])
    for place, line in enumerate(lines[:ROWS]):
        pictures = [column[place] if place < len(column) else None for column in shown.values()]
        table.add_data(*map(_value, header, line), seconds.get(place), *pictures)
    return table


def _value(column: str, text: str) -> Any:
    """Converts the text of a cell: names are kept, everything else is a number."""
    if column == "name":
        return text
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _seconds(parts: Path) -> dict[int, float]:
    """Image index to seconds: the time of its chunk divided by the chunk's number of images."""
    found: dict[int, float] = {}
    for path in parts.glob("part-*.json"):
        match = _PART.fullmatch(path.stem)
        if match is None:
            continue
        first, last = int(match[1]), int(match[2])
        try:
            whole = float(read_json(path, nan=True)["seconds"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
        found |= dict.fromkeys(range(first, last), whole / (last - first))
    return found


def _shown(path: Path, images: int) -> dict[str, list[Any]]:
    """Maps column names to pictures, as far as the file has them."""
    import wandb

    if not path.is_file() or images < 1:
        return {}
    with safe_open(path, framework="np") as file:
        columns = {name: file.get_tensor(name)[:images] for name in file.keys()}  # noqa: SIM118
    order = [name for name in ("target", "encoder", "inverted") if name in columns]
    return {
        name: [wandb.Image(pixels.transpose(1, 2, 0)) for pixels in columns[name]] for name in order
    }
