"""A table or figure as plain columns and lines of numbers, for programs that sort and plot them."""

from typing import Any

from idinvert.results.figures import measured_header
from idinvert.results.fill import FilledTable
from idinvert.results.record import Record
from idinvert.results.trace import TracedCurves

Grid = tuple[list[str], list[list[Any]]]
"""Column names, and lines of them; None where there is no figure."""


def to_grid(shown: FilledTable | TracedCurves) -> Grid:
    """A line a method, its measured figure beside the paper's; of curves, a line a point."""
    if isinstance(shown, TracedCurves):
        lines = [
            [trace.panel.label, trace.line.label, x, y] for trace in shown.traces
            for x, y in trace.points
        ]  # fmt: skip
        return ["panel", "line", "x", "y"], lines
    table = shown.table
    places = [(group, column) for group in table.groups for column in table.columns_of(group)]
    columns = ["method"]
    for group, column in places:
        metric = shown.column(column, group)[0].metric
        name = f"{group.label} {measured_header(column, metric)} ({group.data})"
        columns += [name, f"{group.label} {column.name} (paper, {group.paper_data})"]
    lines = []
    for row in table.rows:
        cells = [cell for group in table.groups for cell in shown.row(row, group)]
        lines.append([row.label, *(f for cell in cells for f in (cell.value, cell.printed))])
    return columns, lines


def records_of(shown: FilledTable | TracedCurves) -> list[Record]:
    """The records that it shows, each once."""
    if isinstance(shown, TracedCurves):
        found = [record for trace in shown.traces for record in trace.records]
    else:
        found = [cell.record for cell in shown.cells if cell.record and cell.value is not None]
    return list({id(record): record for record in found}.values())
