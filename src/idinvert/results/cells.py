"""Select the records of each cell of a table or figure; say why a value is missing."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idinvert.results import select
from idinvert.results.record import Record
from idinvert.results.spec import Column, Curves, Group, Line, Panel, Place, Row, Table


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why a place is empty.

    Attributes:
        reason: as text.
        commands: commands that would fill it, in order.
        run: an existing run that only has to be evaluated; None if one must be trained first.
    """

    reason: str
    commands: tuple[str, ...] = ()
    run: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One place with its records, or the reason why it has none.

    Attributes:
        place: position in the table or figure.
        metric: name of the metric in records; None if no row of the column has one.
        records: the records shown, one per seed, sorted by seed; the cell shows their mean.
        matched: number of records to choose from.
        seeds: the seeds of these.
        missing: why there is no value; None if there is one.
        reference: the reference of a set distance if it differs from the table's. Such a value is
            marked, and compared only with values of the same reference. Empty otherwise.
    """

    place: Place
    metric: str | None
    records: Sequence[Record] = ()
    matched: int = 0
    seeds: Sequence[int | None] = ()
    missing: Missing | None = None
    reference: str = ""

    @property
    def record(self) -> Record | None:
        """The record shown; the first of several seeds."""
        return self.records[0] if self.records else None

    @property
    def values(self) -> list[float]:
        """The measured value of each seed; empty if there is none."""
        name = str(self.metric)
        found = [] if self.missing is not None else self.records
        return [record.metrics[name] for record in found if name in record.metrics]

    @property
    def value(self) -> float | None:
        """The measured value: the mean over seeds; None if there is none."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds (n - 1); None with fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval over images (low, high); None unless a single record has one."""
        if len(self.records) != 1:
            return None
        ends = self.records[0].intervals.get(str(self.metric))
        return None if ends is None else (ends[0], ends[1])


@dataclass(frozen=True, kw_only=True)
class TableCell(Cell):
    """A cell of a table; `printed` is the paper's value, None if the paper prints none."""

    row: Row
    group: Group
    column: Column

    @property
    def printed(self) -> float | None:
        return self.row.printed.get(self.group.label, {}).get(self.column.name)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line with its points.

    Attributes:
        panel, line: position in the figure.
        cells: one for the whole line, or one per point.
        metric: name of the metric in records; None if no record has it.
        points: measured (x, y), y multiplied by `Line.times`.
        note: a value shown beside the line, such as `ap_age 0.93`; empty if there is none.
    """

    panel: Panel
    line: Line
    cells: Sequence[Cell]
    metric: str | None
    points: Sequence[tuple[float, float]]
    note: str = ""

    @property
    def records(self) -> list[Record]:
        """The records behind the points, of all seeds."""
        return [record for cell in self.measured for record in cell.records]

    @property
    def measured(self) -> list[Cell]:
        """The cells with a record, in order: one for the whole line, or one per point."""
        return [cell for cell in self.cells if cell.records and not cell.missing]

    @property
    def spreads(self) -> list[float | None]:
        """Each point's standard deviation over seeds, times `Line.times`; None for one seed."""
        if not self.line.over:
            return [None] * len(self.points)
        found = [cell.deviation for cell in self.measured]
        return [None if one is None else one * self.line.times for one in found]

    @property
    def missing(self) -> list[tuple[float | None, Missing]]:
        """Why the line (x is None) or a point at x is missing: pairs of x and reason."""
        return [(cell.place.value, cell.missing) for cell in self.cells if cell.missing]


@dataclass(frozen=True, kw_only=True)
class FilledTable:
    """A table and its cells, ordered by group, then row, then column."""

    table: Table
    cells: Sequence[TableCell]

    def row(self, row: Row, group: Group) -> list[TableCell]:
        """A row's cells in a group, in the order of the columns."""
        return [cell for cell in self.cells if cell.row is row and cell.group is group]

    def column(self, column: Column, group: Group) -> list[TableCell]:
        """A column's cells in a group, in the order of the rows."""
        return [cell for cell in self.cells if cell.column is column and cell.group is group]


@dataclass(frozen=True, kw_only=True)
class FilledCurves:
    """A figure and its lines, ordered by panel."""

    table: Curves
    curves: Sequence[Curve]

    @property
    def cells(self) -> list[Cell]:
        """The cells of all lines."""
        return [cell for curve in self.curves for cell in curve.cells]


def filled(table: Table | Curves, records: Sequence[Record]) -> FilledTable | FilledCurves:
    """Select the records that a table or figure shows.

    Args:
        table: the table or figure, at its scale.
        records: records of any table and scale; those that satisfy a place's clauses are used.
    """
    if isinstance(table, Curves):
        curves = [
            (_points if line.over else _series)(table, line, panel, records)
            for panel in table.panels
            for line in panel.lines
        ]
        return FilledCurves(table=table, curves=curves)
    cells = []
    for group in table.groups:
        columns = table.columns_of(group)
        by_column = [
            _fill(
                [table.place(row, group, column) for row in table.rows],
                column.metric,
                records,
                wanted="our columns, which came later" if column.ours else "",
            )
            for column in columns
        ]
        for row, of_row in zip(table.rows, zip(*by_column, strict=True), strict=True):
            for column, cell in zip(columns, of_row, strict=True):
                cells.append(TableCell(**vars(cell), row=row, group=group, column=column))
    return FilledTable(table=table, cells=cells)


def evaluations(shown: FilledTable | FilledCurves) -> list[tuple[Place, frozenset[int | None]]]:
    """Return the evaluations that a table or figure needs, each with the seeds measured so far."""
    found: dict[tuple, tuple[Place, frozenset[int | None]]] = {}
    for cell in shown.cells:
        place = cell.place
        if place.absent or place.method.evaluate is None:
            continue
        done = frozenset(() if cell.missing or cell.reference else cell.seeds)
        _, before = found.get(key := (place.label, *place.evaluate), (place, done))
        found[key] = place, before & done
    return list(found.values())


def records_of(shown: FilledTable | FilledCurves) -> list[Record]:
    """Return the records that a table or figure shows, each once."""
    found = [record for cell in shown.cells if not cell.missing for record in cell.records]
    return list({id(record): record for record in found}.values())


def _fill(
    places: Sequence[Place], metrics: Sequence[str], records: Sequence[Record], *, wanted: str = ""
) -> list[Cell]:
    """Fill places that all show one metric: the one that most places have, else the first.

    `wanted` names what records lack in the reason of an empty cell; default: the metric names.
    """
    found = [[] if place.absent else select.matching(records, place.where) for place in places]
    counts = {name: sum(any(name in r.metrics for r in of) for of in found) for name in metrics}
    best = max(metrics, key=lambda name: counts[name])  # the first of several
    cells = []
    for place, of_place in zip(places, found, strict=True):
        metric = best if counts[best] else None
        having = select.preferred(of_place, metric, place.table.reference) if metric else []
        replicates, missing = select.replicates(having), None
        broken = [one for one in replicates if not math.isfinite(one.metrics[str(metric)])]
        if not having:
            lacks = wanted or metric or " or ".join(metrics)
            missing = why_missing(place, records, wanted=lacks)
        elif broken:
            reason = f"{metric} is not a finite number in run {broken[0].run}"
            said = broken[0].protocol.get(str(metric), "")
            reason += f" ({said})" if said.startswith("not measured") else ""
            missing = Missing(reason=reason, run=broken[0].run)
        cells.append(
            Cell(
                place=place,
                metric=metric,
                records=replicates,
                matched=len(having),
                seeds=tuple(dict.fromkeys(r.seed for r in having)),
                missing=missing,
                reference=select.other_reference(having[0], str(metric), place.table.reference)
                if having
                else "",
            )
        )
    return cells


def _points(table: Curves, line: Line, panel: Panel, records: Sequence[Record]) -> Curve:
    """Return a line with one point per record."""
    cells = _fill([table.place(line, panel, v) for v in line.values], line.metric, records)
    points = [
        (float(cell.place.value or 0), cell.value * line.times)
        for cell in cells
        if cell.value is not None
    ]
    return Curve(panel=panel, line=line, cells=cells, metric=cells[0].metric, points=points)


def _series(table: Curves, line: Line, panel: Panel, records: Sequence[Record]) -> Curve:
    """Return a line that is a series of one record."""
    place = table.place(line, panel)
    x, y = place.filled(line.x), place.filled(line.y)
    having = [] if place.absent else select.matching(records, place.where)
    having = [r for r in having if r.series.get(x) and r.series.get(y)]
    if not having:
        missing = why_missing(place, records, wanted=f"the series {y}")
        cells = [Cell(place=place, metric=None, missing=missing)]
        return Curve(panel=panel, line=line, cells=cells, metric=None, points=[])
    record = having[0]
    pairs = zip(record.series[x], record.series[y], strict=False)
    names = [place.filled(name) for name in line.metric]
    known = [f"{name} {record.metrics[name]:.3g}" for name in names if name in record.metrics]
    return Curve(
        panel=panel,
        line=line,
        cells=[Cell(place=place, metric=y, records=[record], matched=len(having))],
        metric=y,
        points=[(a, b * line.times) for a, b in pairs if math.isfinite(a) and math.isfinite(b)],
        note=", ".join(known),
    )


def why_missing(place: Place, records: Iterable[Record], *, wanted: str) -> Missing:
    """Say why no record fills a place.

    Args:
        place: the empty place.
        records: all records; none of them has the value.
        wanted: the metric or series that is missing from records that satisfy the clauses.
    """
    if place.absent:
        return Missing(reason=place.absent)
    where, records = place.where, list(records)
    others = select.matching(records, where)
    # Records of methods without an encoder belong to the generator's run, which is not evaluated.
    runs = [r for r in select.matching(records, select.of_the_run(where)) if "encoder" in r.choices]
    if not others and not runs:
        return Missing(reason=_why_none(where, records), commands=place.commands())
    if others:  # the run was evaluated, but without this metric
        reason = f"run {others[0].run} was evaluated without {wanted}"
    else:
        asked = {path: value for path, value in where.items() if select.of_an_evaluation(path)}
        words = [
            f"{path} {v}"
            for path, v in asked.items()
            if not isinstance(v, select.Default | select.Within)
        ]
        reason = f"no record of run {runs[0].run} with {', '.join(words)}"
    command = place.commands(runs[0].run if runs else "RUN")
    return Missing(reason=reason, commands=command, run=(others or runs)[0].run)


def _why_none(where: Mapping[str, Any], records: Sequence[Record]) -> str:
    closest = select.nearest(records, where)
    if closest is None:
        return "there are no records"
    record, failed = closest
    if len(failed) > 3:
        return "no record comes near"
    return f"no record; the closest is of run {record.run}, but {'; '.join(failed)}"
