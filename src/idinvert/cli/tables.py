"""``evaluate.py table=…``: evaluates what is missing, reuses what is there, never trains."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from idinvert.cli.app import given_keys
from idinvert.cli.setup import with_run
from idinvert.config.overrides import compose_plain
from idinvert.errors import CheckpointError, IdinvertError
from idinvert.tables.fill import FilledTable, Missing, fill
from idinvert.tables.markdown import to_markdown
from idinvert.tables.record import Record
from idinvert.tables.render import write_table
from idinvert.tables.select import failures
from idinvert.tables.store import read_records
from idinvert.tables.table import Group, Row, Table, table_from_dict
from idinvert.weights.bundle import SHIPPED, find_weights
from idinvert.weights.release import read_header

Evaluate = Callable[[dict[str, Any]], list[Record]]

NOT_OF_A_RUN = ("task", "n", "choices.inversion", "data.split")
"""Clauses that an evaluation meets or not, whatever the run."""
OF_THE_COMMAND = ("system", "trainer", "n", "batch_size", "seed", "recompute")
"""Keys that all evaluations of a table take from the command that asks for it."""
WEIGHTS_AND_METRICS = ("metric", "perceptual", "attributes")
"""Keys that they take from there where they were given; else each run brings its own."""


def render_table(
    config: dict[str, Any], *, evaluate: Evaluate, given: Mapping[str, Sequence[str]]
) -> list[Record]:
    """Fills a table, prints it and writes it as Markdown, CSV and LaTeX.

    Args:
        config: The resolved configuration as plain values, with a ``table``.
        evaluate: Runs one evaluation and keeps its records.
        given: Keys that stand on the command line, as `given_keys` sorts them.

    Returns:
        The records that were made on the way.
    """
    outputs = Path(config["system"]["outputs"])
    table = table_from_dict(config["table"], scale=config["scale"]["name"])
    runs = list(trained_runs(outputs))
    made: list[Record] = []
    done: set[tuple[str, str]] = set()
    for row, group in _to_evaluate(config, table, outputs):
        run = _run_for(table, row, group, runs)
        if run is None or (run.run, row.evaluate) in done:
            continue
        done.add((run.run, row.evaluate))
        print(f"{table.name}: evaluating {row.label}, {group.label}, run {run.run}")
        try:
            made += evaluate(_evaluation(config, table, row, group, run, given=given))
        except IdinvertError as error:
            print(f"  not done: {error}")
    filled = fill(table, read_records(outputs / "records.jsonl"))
    print(to_markdown(filled))
    for path in write_table(filled, outputs / "tables"):
        print(f"written: {path}")
    return made


def trained_runs(outputs: Path) -> Iterator[Record]:
    """The encoders of this machine's runs, and the shipped one, as records without figures."""
    folders = [
        str(path.parents[1]) for path in sorted(outputs.glob("*/*/weights/encoder.safetensors"))
    ]
    for folder in [*folders, f"{SHIPPED}faces_mini"]:
        try:
            path = find_weights(folder, role="encoder", key="run")
            provenance = read_header(path, key="run").provenance
        except CheckpointError:
            continue
        if "choices" in provenance:
            yield Record(
                run=provenance["run"],
                task="",
                choices=provenance["choices"],
                metrics={},
                n=0,
                nimg=provenance["nimg"],
                data={"name": provenance["data"]},
                seed=provenance["seed"],
                extra={"folder": folder},
            )


def _to_evaluate(config: dict[str, Any], table: Table, outputs: Path) -> list[tuple[Row, Group]]:
    """What has no figures yet; with ``recompute`` all, without ``evaluate_missing`` nothing."""
    if not config["evaluate_missing"]:
        return []
    if config["recompute"]:
        return [(row, group) for group in table.groups for row in table.rows]
    filled: FilledTable = fill(table, read_records(outputs / "records.jsonl"))
    missing: list[Missing] = filled.missing()
    return [(entry.row, entry.group) for entry in missing]


def _run_for(table: Table, row: Row, group: Group, runs: list[Record]) -> Record | None:
    """The run of a row with the most images seen."""
    clauses = {
        path: wanted
        for column in table.columns
        for path, wanted in table.clauses(row, group, column).items()
        if not path.startswith(NOT_OF_A_RUN)
    }
    fitting = [run for run in runs if not failures(run, clauses)]
    return max(fitting, key=lambda run: run.nimg, default=None)


def _evaluation(
    config: dict[str, Any],
    table: Table,
    row: Row,
    group: Group,
    run: Record,
    *,
    given: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """The configuration of the command that stands in the table's row."""
    words = shlex.split(table.command(row.evaluate, group))
    overrides = [word for word in words if "=" in word and not word.startswith("run=")]
    folder = str(run.extra["folder"])
    if not folder.startswith(SHIPPED):
        overrides.append(f"run={folder}")
    chosen = compose_plain("evaluate", overrides)
    handed_on = {key: given[key] for key in WEIGHTS_AND_METRICS if key in given}
    for key in (*OF_THE_COMMAND, *handed_on):
        chosen[key] = config[key]
    return with_run(chosen, given=given_keys(overrides) | handed_on)
