"""``evaluate.py``: evaluates a run, inverts one's own images, or renders a table."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from idinvert.cli.app import run_app
from idinvert.cli.recorded import evaluation_identity, recorded
from idinvert.cli.setup import with_run
from idinvert.cli.tables import render_table
from idinvert.cli.trained import with_trained_generator
from idinvert.config.build import bind
from idinvert.tables.record import Record
from idinvert.tables.store import append


def main() -> None:
    """Entry point of ``evaluate.py`` and ``idinvert-evaluate``."""
    run_app("evaluate", evaluate)


def evaluate(
    config: dict[str, Any], *, given: Mapping[str, Sequence[str]] | None = None
) -> list[Record]:
    """Runs one task, or renders one table.

    Args:
        config: The resolved configuration as plain values.
        given: Keys that stand on the command line, as `given_keys` sorts them.

    Returns:
        The records that were made; they also stand in ``<outputs>/records.jsonl``.
    """
    if config["system"]["num_threads"]:
        torch.set_num_threads(config["system"]["num_threads"])
    if config["table"] is not None:
        once = functools.partial(run_task, once=True)
        return render_table(config, evaluate=once, given=given or {})
    return run_task(with_run(config, given=given or {}), once="row" in (given or {}))


def run_task(config: dict[str, Any], *, once: bool = False) -> list[Record]:
    """Runs the task of a configuration and keeps its records.

    Args:
        config: With what its run brings along.
        once: Whether records that are there already will do, unless ``recompute`` is set.
    """
    config = with_trained_generator(config)
    identity = evaluation_identity(config)
    if once and not config["recompute"] and (found := recorded(identity, records_path(config))):
        print(f"measured before ({found[-1].created[:10]}); recompute=true measures again")
        return found
    records = [
        dataclasses.replace(record, evaluation=identity)
        for record in bind(config["task"], key="task")(config=config)
    ]
    for record in records:
        append(records_path(config), record)
    return records


def records_path(config: dict[str, Any]) -> Path:
    """Where the user's own records lie."""
    return Path(config["system"]["outputs"]) / "records.jsonl"


if __name__ == "__main__":
    main()
