"""``evaluate.py``: evaluates a run, inverts one's own images, or renders a table."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from idinvert.cli import methods
from idinvert.cli.devices import check_devices, set_up
from idinvert.cli.inputs import contents_of
from idinvert.cli.run_defaults import with_run, with_trained_generator
from idinvert.cli.slurm import requeued_on_signal
from idinvert.cli.tables import render_table
from idinvert.cli.wandb_reporting import (
    as_table,
    check_account,
    pictures_wanted,
    track_evaluation,
    track_table,
)
from idinvert.config.identity import digest_of, evaluation_identity
from idinvert.config.instantiate import bind
from idinvert.config.run_folder import is_first_process
from idinvert.data.content import computed_anew
from idinvert.errors import ConfigError
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.networks import data_opened_once
from idinvert.results.record import Record, append, read_records


@requeued_on_signal()
def evaluate(
    config: dict[str, Any], *, given: Mapping[str, Sequence[str]] | None = None
) -> list[Record]:
    """Runs one task, or renders one table.

    Args:
        config: The resolved configuration as plain values.
        given: Keys that the command line gives, as `given_keys` sorts them.

    Returns:
        The records that were made; they also stand in ``<outputs>/records.jsonl``.
    """
    check_devices(config["trainer"])
    set_up(config["system"])
    if config["records"] is not None and config["table"] is None:
        raise ConfigError(f"records={config['records']} is of table=NAME: tables show records.")
    if config["table"] is not None:
        once = functools.partial(run_task, once=True)
        config = as_table(config)
        track = functools.partial(track_table, config)
        return render_table(config, evaluate=once, given=given or {}, track=track)
    return run_task(with_run(config, given=given or {}), once=_in_sweep() or "row" in (given or {}))


def run_task(config: dict[str, Any], *, once: bool = False) -> list[Record]:
    """Runs the task of a configuration and keeps its records.

    Args:
        config: With the values of its run.
        once: Whether records that are there already will do, unless ``recompute`` is set.
    """
    check_account(config)
    config = with_trained_generator(config)
    with computed_anew(config["verify"]), data_opened_once():
        return _run_task(config, once=once)


def _run_task(config: dict[str, Any], *, once: bool) -> list[Record]:
    identity = evaluation_identity(config, contents=contents_of(config))
    found = cached_records(identity, records_path(config)) if once else []
    if found and not config["recompute"]:
        print(f"measured before ({found[-1].created[:10]}); recompute=true measures again")
        track_evaluation(config, found, [], evaluation=identity)
        return found
    context = EvaluationContext(config, entries=methods, shown_tensors=pictures_wanted(config))
    records = [
        dataclasses.replace(record, evaluation=identity)
        for record in bind(config["task"], key="task")(context)
    ]
    for record in records if is_first_process() else ():  # some tasks are every rank's
        append(records_path(config), record)
    track_evaluation(config, records, context.results, evaluation=identity)
    return records


def records_path(config: dict[str, Any]) -> Path:
    """Where the user's own records lie."""
    return Path(config["system"]["outputs"]) / "records.jsonl"


def cached_records(identity: str, path: Path) -> list[Record]:
    """The records of an evaluation that was made before; several calls' count once, the last."""
    last: dict[tuple[str, str], Record] = {}
    for record in read_records(path):
        if record.evaluation == identity:
            last[record.task, digest_of(record.choices)] = record
    return list(last.values())


def _in_sweep() -> bool:
    """Whether this process runs a job of a sweep just now."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


if __name__ == "__main__":
    from idinvert.cli import commands  # which imports this module under its own name

    commands.evaluate()
