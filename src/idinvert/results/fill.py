"""Put records into the cells of a table, and say of each empty cell why it is empty."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from idinvert.results.lack import Need, why_empty
from idinvert.results.record import Record
from idinvert.results.select import matching, other_reference, select
from idinvert.results.table import Column, Group, Row, Table


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
        interval: the low and high end of the figure's 95 % interval, where its record has one.
        aside: the reference of a distance that is to other real images than the table's; such a
            figure is marked, and compared with none of another reference. Empty otherwise.
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
    interval: tuple[float, float] | None = None
    aside: str = ""
    reason: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What a row lacks in a group.

    Attributes:
        row, group: where.
        columns: names of the empty columns.
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
                columns=tuple(cell.column.name for cell in cells),
                reason=cells[0].reason,
                run=cells[0].record.run if cells[0].record else None,
                commands=cells[0].commands,
            )
            for cells in found.values()
        ]

    def needs(self, *, everything: bool) -> list[Need]:
        """The evaluations that would fill what is empty, or all that the table stands on."""
        found: dict[tuple[str, str, str], Need] = {}
        for cell in self.cells:
            absent = self.table.scale in cell.row.absent
            there = cell.value is not None and not cell.aside
            if absent or not cell.row.evaluate or (there and not everything):
                continue
            place = (cell.row, cell.group, cell.column)
            command = self.table.command(cell.row.evaluate, *place)
            need = Need(
                label=f"{cell.row.label}, {cell.group.label}",
                where=self.table.clauses(*place),
                evaluate=command,
            )
            found.setdefault((cell.group.label, cell.row.label, command), need)
        return list(found.values())


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
        columns = table.columns_of(group)
        metrics = {column.name: _shown(table, group, column, records) for column in columns}
        for row in table.rows:
            for column in columns:
                metric = metrics[column.name]
                cells.append(_cell(table, row, group, column, metric, records))
    return FilledTable(table=table, cells=cells)


def _shown(table: Table, group: Group, column: Column, records: Sequence[Record]) -> str | None:
    """The metric that a column shows in a group."""
    counts = {name: 0 for name in column.metric}
    for row in table.rows:
        if table.scale in row.absent:
            continue
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
    place: dict[str, Any] = {
        "row": row,
        "group": group,
        "column": column,
        "metric": metric,
        "printed": row.printed.get(group.label, {}).get(column.name),
    }
    if table.scale in row.absent:
        return Cell(**place, reason=row.absent[table.scale])
    where = table.clauses(row, group, column)
    if metric is not None:
        found = select(records, where, metric=metric, reference=table.reference)
        if found.record is not None:
            value = found.record.metrics[metric]
            selected: dict[str, Any] = {**place, "record": found.record, "matched": found.matched}
            selected["aside"] = other_reference(found.record, metric, table.reference)
            if (ends := found.record.intervals.get(metric)) is not None:
                selected["interval"] = (ends[0], ends[1])
            if math.isfinite(value):
                return Cell(**selected, seeds=found.seeds, value=value)
            run = found.record.run
            return Cell(**selected, reason=f"{metric} is not a finite number in run {run}")
    lack = why_empty(
        records,
        where,
        wanted=metric or " or ".join(column.metric),
        train=table.command(row.train, row, group, column),
        evaluate=table.command(row.evaluate, row, group, column),
    )
    return Cell(**place, reason=lack.reason, commands=lack.commands, record=lack.record)
