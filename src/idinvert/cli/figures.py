"""The one figure of a job: what stands in a sweep's table, and what a search optimises."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idinvert.config.instantiate import nearest
from idinvert.errors import ConfigError
from idinvert.results.record import Record
from idinvert.tracking.csv_logger import read_rows
from idinvert.training.callbacks.checkpoint import latest_checkpoint

VALIDATION = "val/"


class UnknownMetricError(ConfigError):
    """``optimized_metric`` names no figure of this training; no other job of the sweep has it."""


@dataclass(frozen=True)
class Figure:
    """A metric's name and value."""

    metric: str
    value: float


def figure_of_run(folder: Path, *, optimized: str | None) -> Figure | None:
    """The last validation figure of a run.

    Args:
        folder: The run's folder, with its ``metrics.jsonl``.
        optimized: ``optimized_metric``; ``None`` for the first that is there.

    Returns:
        ``None`` where nothing was asked for and nothing was validated.

    Raises:
        UnknownMetricError: No such metric; those that exist are named.
        ConfigError: It is no finite number.
    """
    last = {
        name: float(value)
        for row in read_rows(folder / "metrics.jsonl")
        for name, value in row.items()
        if name.startswith(VALIDATION)
    }
    if optimized is None:
        return next((Figure(name, value) for name, value in last.items()), None)
    if not last:
        raise UnknownMetricError(
            f"optimized_metric={optimized}: {folder} was never validated, so there is nothing to "
            "optimise. Set logging.validate_every_nimg to at most nimg; a GAN has no validation."
        )
    if optimized not in last:
        hint = nearest(optimized, list(last))
        known = "" if hint.startswith("Known") else f" Known here: {', '.join(sorted(last))}."
        raise UnknownMetricError(f"optimized_metric={optimized}: no such figure. {hint}{known}")
    if not math.isfinite(last[optimized]):
        raise ConfigError(f"{optimized} ended as {last[optimized]} in {folder}.")
    return Figure(optimized, last[optimized])


def figure_of_records(records: Sequence[Record]) -> Figure | None:
    """The first metric of the last record; a table's own job may have made none."""
    metrics = records[-1].metrics if records else {}
    return next((Figure(name, value) for name, value in metrics.items()), None)


def was_there(result: Any, *, since: float, moment: str) -> bool:
    """Whether a job found its work done.

    Args:
        result: A run's folder, or records.
        since: When the job began, as the file system it writes to tells the time.
        moment: The same in records' words.
    """
    if isinstance(result, Path):
        newest = latest_checkpoint(result / "checkpoints")
        return newest is not None and newest.stat().st_mtime < since
    return bool(result) and all(record.created < moment for record in result)
