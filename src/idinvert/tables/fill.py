"""Put records into the cells of a table, and say of each empty cell why it is empty."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idinvert.tables.record import Record
from idinvert.tables.select import matching, nearest, select
from idinvert.tables.table import Column, Group, Row, Table

EVALUATED = ("task", "n", "choices.inversion", "data.split")
"""Clauses that an evaluation decides, whatever the run."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure, or why there is none.

    Attributes:
        row, group, column: where it stands.
        metric: name in records that the column shows in this group; None if no row has any.
        printed: the paper's figure, None if it prints none.
        value: the measured figure, None if there is none.
        record: it comes from.
        matched: how many records stood for choice.
        seeds: of these.
        reason: why there is no value; empty if there is one.
        commands: that would fill the cell.
    """

    row: Row
    group: Group
    column: Column
    metric: str | None
    printed: float | None
    value: float | None = None
    record: Record | None = None
    matched: int = 0
    seeds: tuple[int, ...] = ()
    reason: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What a row lacks in a group.

    Attributes:
        row, group: where.
        columns: labels of the empty columns.
        reason: of all of them.
        run: that exists and lacks only an evaluation; None where a run must be trained first.
        commands: that would fill the cells, in order.
    """

    row: Row
    group: Group
    columns: tuple[str, ...]
    reason: str
    run: str | None
    commands: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FilledTable:
    """A table and its cells, groups outermost, then rows, then columns."""

    table: Table
    cells: Sequence[Cell]

    def row(self, row: Row, group: Group) -> list[Cell]:
        """A row's cells in a group, in the order of the columns."""
        return [cell for cell in self.cells if cell.row is row and cell.group is group]

    def column(self, column: Column, group: Group) -> list[Cell]:
        """A column's cells in a group, in the order of the rows."""
        return [cell for cell in self.cells if cell.column is column and cell.group is group]

    def missing(self) -> list[Missing]:
        """All that is empty, one entry for cells of a row that are empty for the same reason."""
        found: dict[tuple, list[Cell]] = {}
        for cell in self.cells:
            if cell.value is None:
                key = (cell.group.label, cell.row.label, cell.reason, cell.commands)
                found.setdefault(key, []).append(cell)
        return [
            Missing(
                row=cells[0].row,
                group=cells[0].group,
                columns=tuple(cell.column.label for cell in cells),
                reason=cells[0].reason,
                run=cells[0].record.run if cells[0].record else None,
                commands=cells[0].commands,
            )
            for cells in found.values()
        ]


def fill(table: Table, records: Sequence[Record]) -> FilledTable:
    """Select a record for every cell.

    All rows of a column show the same metric in a group: of the names that the column accepts, the
    one that most rows have, at a tie the one named first.

    Args:
        table: at its scale.
        records: of any table and scale; only those that meet a cell's clauses come in.
    """
    cells = []
    for group in table.groups:
        metrics = {column.label: _shown(table, group, column, records) for column in table.columns}
        for row in table.rows:
            for column in table.columns:
                metric = metrics[column.label]
                cells.append(_cell(table, row, group, column, metric, records))
    return FilledTable(table=table, cells=cells)


def _shown(table: Table, group: Group, column: Column, records: Sequence[Record]) -> str | None:
    """The metric that a column shows in a group."""
    counts = {name: 0 for name in column.metric}
    for row in table.rows:
        found = matching(records, table.clauses(row, group, column))
        for name in column.metric:
            counts[name] += any(name in record.metrics for record in found)
    best = max(column.metric, key=lambda name: counts[name])  # the first of several
    return best if counts[best] else None


def _cell(
    table: Table,
    row: Row,
    group: Group,
    column: Column,
    metric: str | None,
    records: Sequence[Record],
) -> Cell:
    where = table.clauses(row, group, column)
    place: dict[str, Any] = {
        "row": row,
        "group": group,
        "column": column,
        "metric": metric,
        "printed": row.printed.get(group.label, {}).get(column.label),
    }
    if metric is not None:
        found = select(records, where, metric=metric)
        if found.record is not None:
            value = found.record.metrics[metric]
            selected: dict[str, Any] = {**place, "record": found.record, "matched": found.matched}
            if math.isfinite(value):
                return Cell(**selected, seeds=found.seeds, value=value)
            run = found.record.run
            return Cell(**selected, reason=f"{metric} is not a finite number in run {run}")
    evaluate = table.command(row.evaluate, group)
    others = matching(records, where)
    run_clauses = {path: value for path, value in where.items() if not path.startswith(EVALUATED)}
    trained = others or matching(records, run_clauses)
    if trained:  # the run is there; it lacks an evaluation, or this metric of it
        run = trained[0].run
        lacking = f"run {run} was evaluated without {metric or ' or '.join(column.metric)}"
        if not others:
            lacking = f"no record of run {run} with {_in_words(where, run_clauses)}"
        commands = [evaluate.replace("RUN", run)]
        return _empty(place, reason=lacking, commands=commands, record=trained[0])
    train = table.command(row.train, group)
    return _empty(place, reason=_why_none(where, records), commands=[train, evaluate])


def _empty(
    place: Mapping[str, Any],
    *,
    reason: str,
    commands: Sequence[str],
    record: Record | None = None,
) -> Cell:
    given = tuple(command for command in commands if command)
    return Cell(**place, reason=reason, commands=given, record=record)


def _in_words(where: Mapping[str, Any], run_clauses: Mapping[str, Any]) -> str:
    """The clauses that an evaluation decides, not the run."""
    return ", ".join(f"{path} {value}" for path, value in where.items() if path not in run_clauses)


def _why_none(where: Mapping[str, Any], records: Sequence[Record]) -> str:
    closest = nearest(records, where)
    if closest is None:
        return "there are no records"
    record, failed = closest
    if len(failed) > 3:
        return "no record comes near"
    return f"no record; the closest is of run {record.run}, but {'; '.join(failed)}"
