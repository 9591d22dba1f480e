"""Put records into the lines of a figure, and say of each missing line or point why it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from idinvert.results.curve import Curves, Line, Panel
from idinvert.results.lack import Lack, Need, why_empty
from idinvert.results.record import Record
from idinvert.results.select import matching, select


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A line with its points.

    Attributes:
        panel, line: where it stands.
        metric: name in records of what is shown; None if no record has it.
        figure: one that goes with the line, such as `ap_age 0.93`; empty if there is none.
        points: x and y of what was measured, y multiplied by `Line.times`.
        records: behind them, each once.
        lacks: why it is missing, or why some of its points are; x or None, and the reason.
    """

    panel: Panel
    line: Line
    metric: str | None
    points: Sequence[tuple[float, float]]
    records: Sequence[Record]
    lacks: Sequence[tuple[float | None, Lack]] = ()
    figure: str = ""


@dataclass(frozen=True, kw_only=True)
class TracedCurves:
    """A figure and its lines, panels outermost."""

    table: Curves
    traces: Sequence[Trace]

    def needs(self, *, everything: bool) -> list[Need]:
        """The evaluations that would fill what is missing, or all that the figure stands on."""
        found: dict[str, Need] = {}
        for trace in self.traces:
            line, panel = trace.line, trace.panel
            if self.table.scale in line.absent or not line.evaluate:
                continue
            missing = [value for value, _ in trace.lacks]
            every = list(line.values) if line.over else [None]
            for value in every if everything else missing:
                command = self.table.words(line.evaluate, line, panel, value=value)
                at = "" if value is None else f" at {value:g}"
                need = Need(
                    label=f"{line.label}{at}",
                    where=self.table.clauses(line, panel, value=value),
                    evaluate=command,
                )
                found.setdefault(f"{line.label} {command}", need)
        return list(found.values())


def trace(table: Curves, records: Sequence[Record]) -> TracedCurves:
    """Select records for every line.

    Args:
        table: at its scale.
        records: of any figure and scale; only those that meet a line's clauses come in.
    """
    traces = []
    for panel in table.panels:
        for line in panel.lines:
            if table.scale in line.absent:
                lack = Lack(reason=line.absent[table.scale], commands=())
                empty = Trace(
                    panel=panel, line=line, metric=None, points=[], records=[], lacks=[(None, lack)]
                )
                traces.append(empty)
            elif line.over:
                traces.append(_of_many(table, line, panel, records))
            else:
                traces.append(_of_one(table, line, panel, records))
    return TracedCurves(table=table, traces=traces)


def _of_one(table: Curves, line: Line, panel: Panel, records: Sequence[Record]) -> Trace:
    """A line that is a series of one record."""
    where = table.clauses(line, panel)
    x, y = (table.words(name, line, panel) for name in (line.x, line.y))
    found = [r for r in matching(records, where) if r.series.get(x) and r.series.get(y)]
    if not found:
        lack = _lack(table, line, panel, records, wanted=f"the series {y}")
        return Trace(
            panel=panel, line=line, metric=None, points=[], records=[], lacks=[(None, lack)]
        )
    record = found[0]
    pairs = zip(record.series[x], record.series[y], strict=False)
    points = [(a, b * line.times) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    figures = [table.words(name, line, panel) for name in line.metric]
    known = [f"{name} {record.metrics[name]:.3g}" for name in figures if name in record.metrics]
    return Trace(
        panel=panel, line=line, metric=y, points=points, records=[record], figure=", ".join(known)
    )


def _of_many(table: Curves, line: Line, panel: Panel, records: Sequence[Record]) -> Trace:
    """A line of a point a record; of the metrics it accepts, the one that most points have."""
    places = {value: table.clauses(line, panel, value=value) for value in line.values}
    counts = {
        name: sum(
            select(records, where, metric=name).record is not None for where in places.values()
        )
        for name in line.metric
    }
    metric = max(line.metric, key=lambda name: counts[name])  # the first of several
    points, used, lacks = [], [], []
    for value, where in places.items():
        record = select(records, where, metric=metric, reference=table.reference).record
        if record is None or not math.isfinite(record.metrics[metric]):
            wanted = metric if counts[metric] else " or ".join(line.metric)
            lack = _lack(table, line, panel, records, wanted=wanted, value=value)
            lacks.append((value, lack))
            continue
        points.append((float(value), record.metrics[metric] * line.times))
        used.append(record)
    return Trace(
        panel=panel,
        line=line,
        metric=metric if counts[metric] else None,
        points=points,
        records=used,
        lacks=lacks,
    )


def _lack(
    table: Curves,
    line: Line,
    panel: Panel,
    records: Sequence[Record],
    *,
    wanted: str,
    value: float | None = None,
) -> Lack:
    return why_empty(
        records,
        table.clauses(line, panel, value=value),
        wanted=wanted,
        train=table.words(line.train, line, panel, value=value),
        evaluate=table.words(line.evaluate, line, panel, value=value),
    )
