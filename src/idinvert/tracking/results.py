"""What an evaluation shows in W&B: its figures, its images one by one, its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idinvert.tracking.artifacts import file_artifact, text_artifact
from idinvert.tracking.per_image import per_image_table
from idinvert.tracking.wandb_run import TrackedRun

if TYPE_CHECKING:
    import wandb

PICTURES = 20
"""Pictures of a folder that are shown at most."""


@dataclass(frozen=True)
class Result:
    """What a task left.

    Attributes:
        record: The record as plain values; None for a task that measures nothing.
        folder: Where its files lie; None where it leaves none.
    """

    record: Mapping[str, Any] | None
    folder: Path | None


def log_results(
    tracked: TrackedRun, results: Sequence[Result], *, evaluation: str, images: int
) -> None:
    """Logs the results of one evaluation.

    Each record is a row ``<task>/<metric>`` at its ``nimg``, with its place among several as
    ``record``; all of them stand in the table ``records``, curves in ``series``. Per-image figures
    are the table ``per_image``, pictures are ``<task>/<file>``. The records and the codes of one's
    own images are artifacts.

    Args:
        tracked: The run.
        results: In the order in which they were made.
        evaluation: The evaluation's hash; its artifact is ``record-<hash>``.
        images: Rows of ``per_image`` that show pictures.
    """
    records = [result.record for result in results if result.record is not None]
    for place, record in enumerate(records):
        figures = {f"{record['task']}/{name}": value for name, value in record["metrics"].items()}
        row = {name: value for name, value in figures.items() if value is not None}
        tracked.log(
            row | {"nimg": record["nimg"]} | ({"record": place} if len(records) > 1 else {})
        )
    if records:
        tables = {"records": records_table(records)} | _series(records)
        tracked.log(tables | {"nimg": records[0]["nimg"]})
        lines = "".join(json.dumps(record) + "\n" for record in records)
        facts = {"runs": sorted({record["run"] for record in records})}
        made = text_artifact(
            f"record-{evaluation}", "record", {"records.jsonl": lines}, facts=facts
        )
        tracked.artifact(made)
    seen: set[Path] = set()
    for result in results:
        if result.folder is not None and result.folder not in seen:
            seen.add(result.folder)
            _log_folder(tracked, result, images=images)


def records_table(records: Sequence[Mapping[str, Any]]) -> wandb.Table:
    """A line a record: what was measured, on what, by which method."""
    import wandb

    metrics = list(dict.fromkeys(name for record in records for name in record["metrics"]))
    columns = ["record", "task", "inversion", "data", "n", "run", "nimg", "seed"]
    table = wandb.Table(columns=[*columns, *metrics, "choices"])
    for place, record in enumerate(records):
        inversion = record["choices"].get("inversion") or {}
        name = inversion.get("name") if isinstance(inversion, Mapping) else str(inversion)
        known = [place, record["task"], name, record["data"].get("name"), record["n"]]
        known += [record["run"], record["nimg"], record.get("seed")]
        figures = [record["metrics"].get(metric) for metric in metrics]
        table.add_data(*known, *figures, json.dumps(record["choices"], sort_keys=True))
    return table


def _series(records: Sequence[Mapping[str, Any]]) -> dict[str, wandb.Table]:
    """The records' curves, a line a number."""
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
    """Per-image figures, pictures and codes of a task's folder."""
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
        tracked.artifact(file_artifact(name, "codes", [codes], facts=facts))


def log_table(
    tracked: TrackedRun,
    *,
    name: str,
    columns: Sequence[str],
    lines: Sequence[Sequence[Any]],
    files: Sequence[Path],
    records: Mapping[str, Mapping[str, Any]],
) -> None:
    """Logs a rendered table as a W&B table, its files as the artifact ``table-<name>``.

    Args:
        tracked: The run.
        name: The table's name and scale.
        columns: Of the table.
        lines: Its rows.
        files: The table in every format; pictures among them are shown.
        records: Evaluation hash to the record that the table shows; each is an input.
    """
    import wandb

    tracked.configure({"inputs": {"records": sorted(records)}})
    for evaluation in sorted(filter(None, records)):
        tracked.use(f"record-{evaluation}", "latest")
    row: dict[str, Any] = {"table": _grid(columns, lines)}
    row |= {path.stem: wandb.Image(str(path)) for path in files if path.suffix == ".png"}
    tracked.log(row)
    facts = {"records": len(records)}
    tracked.artifact(file_artifact(f"table-{name}", "table", list(files), facts=facts))


def _grid(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> wandb.Table:
    import wandb

    return wandb.Table(columns=list(columns), data=[list(line) for line in lines])
