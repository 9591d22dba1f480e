"""Write a filled table or figure in every format; draw curves."""

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idinvert import durable
from idinvert.results.cells import Curve, FilledCurves, FilledTable, Missing
from idinvert.results.latex import to_latex
from idinvert.results.record import OF_SETS, Record
from idinvert.results.select import other_reference
from idinvert.results.spec import Panel
from idinvert.results.tables import REFERENCES, measured_header, to_markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Grid = tuple[list[str], list[list[Any]]]
"""Column names, and rows of values; None if there is no value."""
POINTS = (
    *("figure", "scale", "panel", "line", "metric", "x", "y", "data", "run", "nimg", "n"),
    *("seeds", "deviation"),
)
"""CSV columns of a figure."""
FEW = 20
"""Lines with fewer points than this are drawn with markers."""


def page(shown: FilledTable | FilledCurves) -> str:
    """Return a table or figure as Markdown."""
    return curves_to_markdown(shown) if isinstance(shown, FilledCurves) else to_markdown(shown)


def tell(text: str) -> None:
    """Print a Markdown page; on a terminal, align the columns of its tables.

    A table that is too wide is continued below, with its first column repeated. Lines of text are
    printed unchanged, so that commands can be pasted.
    """
    if not sys.stdout.isatty():
        print(text)
        return
    console = Console(highlight=False)
    for is_table, lines in itertools.groupby(text.split("\n"), lambda line: line.startswith("| ")):
        if not is_table:
            print("\n".join(lines))
            continue
        rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines]
        columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
        for k, some in enumerate(_that_fit(columns, console.width)):
            console.print(*[""] * bool(k), _aligned(some), sep="\n")


def _that_fit(columns: list[list[str]], width: int) -> Iterable[list[list[str]]]:
    """Split the columns of a table into groups that fit `width`; each has the first column."""

    def least(column: list[str]) -> int:
        return max(map(len, [*column[0].split(), *column[2:], ""])) + 3  # padding and a line

    left = columns[1:]
    while left:
        count, room = 0, width - least(columns[0])
        while count < len(left) and (room := room - least(left[count])) >= 0:
            count += 1
        yield [columns[0], *left[: max(1, count)]]
        left = left[max(1, count) :]


def _aligned(columns: list[list[str]]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1), show_edge=False)
    for head, how, *_ in columns:
        table.add_column(Text(head), justify="right" if how.endswith(":") else "left")
    for cells in zip(*(column[2:] for column in columns), strict=True):
        bold = {True: "bold", False: ""}
        styled = [Text(cell.strip("*"), style=bold[cell.startswith("**")]) for cell in cells]
        table.add_row(*styled)
    return table


def write(shown: FilledTable | FilledCurves, folder: str | Path) -> list[Path]:
    """Write `<name>.<scale>` in every format, each file atomically.

    Args:
        shown: a table (`.md`, `.csv`, `.tex`) or curves (`.md`, `.csv`, `.png`, `.pdf`).
        folder: target folder; created if it does not exist.

    Returns:
        The paths of the files, Markdown first.
    """
    folder = Path(folder)
    stem = f"{shown.table.name}.{shown.table.scale}"
    files: dict[str, bytes] = {".md": page(shown).encode(), ".csv": to_csv(shown).encode()}
    if isinstance(shown, FilledTable):
        files[".tex"] = to_latex(shown).encode()
    else:
        files |= {suffix: draw_curves(shown, suffix[1:]) for suffix in (".png", ".pdf")}
    written = []
    for suffix, content in files.items():
        path = folder / f"{stem}{suffix}"
        written.append(durable.write(path, content))
    return written


def to_csv(shown: FilledTable | FilledCurves) -> str:
    """Return CSV for programs: one line per cell of a table, or per point of a curve."""
    if isinstance(shown, FilledTable):
        lines = list(_cell_lines(shown))
        columns: Sequence[str] = list(lines[0])
    else:
        lines, columns = list(_point_lines(shown)), POINTS
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def to_grid(shown: FilledTable | FilledCurves) -> Grid:
    """Return a row per method, measured and printed values side by side; or a row per point."""
    if isinstance(shown, FilledCurves):
        lines = [
            [curve.panel.label, curve.line.label, x, y] for curve in shown.curves
            for x, y in curve.points
        ]  # fmt: skip
        return ["panel", "line", "x", "y"], lines
    table = shown.table
    columns = ["method"]
    for group in table.groups:
        for column in table.columns_of(group):
            metric = shown.column(column, group)[0].metric
            columns.append(f"{group.label} {measured_header(column, metric)} ({group.data})")
            if not column.ours:
                columns.append(f"{group.label} {column.name} (paper, {group.paper_data})")
    lines = []
    for row in table.rows:
        cells = [cell for group in table.groups for cell in shown.row(row, group)]
        values = [[cell.value] + [cell.printed] * (not cell.column.ours) for cell in cells]
        lines.append([row.label, *itertools.chain(*values)])
    return columns, lines


def _cell_lines(filled: FilledTable) -> Iterable[dict[str, Any]]:
    """Yield for each cell the measured value, its data and run, and the printed value."""
    for cell in filled.cells:
        record = cell.record if cell.value is not None else None
        low, high = cell.interval if record is not None and cell.interval else (None, None)
        of_sets = record is not None and OF_SETS.match(str(cell.metric))
        yield {
            "table": filled.table.name,
            "scale": filled.table.scale,
            "group": cell.group.label,
            "row": cell.row.label,
            "column": cell.column.name,
            "better": cell.column.better,
            "metric": cell.metric,
            "measured": cell.value,
            "low": low,
            "high": high,
            "reference": record.reference if record and of_sets else None,
            "data": cell.group.data,
            "resolution": record and record.data.get("resolution"),
            "n": record and record.n,
            "run": record and record.run,
            "nimg": record and record.nimg,
            "seed": record and record.seed,
            "seeds": len(cell.values) if record else None,
            "deviation": cell.deviation,
            "matched": cell.matched,
            "created": record and record.created,
            "paper": cell.printed,
            "paper_data": cell.group.paper_data,
            "reason": cell.missing.reason if cell.missing else "",
        }


def _point_lines(filled: FilledCurves) -> Iterable[dict[str, Any]]:
    """Yield every point with its run; the run of the paper's points is `paper`."""
    table = filled.table
    for curve in filled.curves:
        place = (table.name, table.scale, curve.panel.label, curve.line.label, curve.metric)
        cells = curve.measured if curve.line.over else curve.measured * len(curve.points)
        for (x, y), cell, spread in zip(curve.points, cells, curve.spreads, strict=True):
            r = cell.records[0]
            found = (*place, x, y, table.data, r.run, r.nimg, r.n, len(cell.records), spread)
            yield dict(zip(POINTS, found, strict=True))
        for x, y in curve.line.printed:
            yield dict(zip(POINTS, (*place, x, y, table.paper_data, "paper"), strict=False))


def curves_to_markdown(filled: FilledCurves) -> str:
    """Return Markdown: the figure, its values and runs, and what is missing; ends in a newline."""
    table = filled.table
    lines = [f"# {table.title}", "", f"![{table.name}]({table.name}.{table.scale}.png)", ""]
    lines += [f"- Scale: {table.scale}; data: {table.data}; the paper's: {table.paper_data}."]
    lines += [f"- {note}" for note in table.notes]
    for panel in table.panels:
        lines += ["", f"## {panel.label or table.name}", ""]
        for curve in (curve for curve in filled.curves if curve.panel is panel):
            lines += _of_curve(curve, reference=table.reference)
    return "\n".join(lines) + "\n"


def _of_run(r: Record) -> str:
    return f"run {r.run} (nimg {r.nimg:,}, n {r.n:,}, seed {r.seed}, {r.created[:10]})"


def _of_curve(curve: Curve, *, reference: str) -> list[str]:
    line, lines = curve.line, []
    if curve.points:
        facts = [tuple(map(_of_run, cell.records)) for cell in curve.measured]
        told = dict.fromkeys(itertools.chain(*facts))
        lines.append(
            f"- {line.label}: {curve.metric}, {len(curve.points)} points; {'; '.join(told)}."
        )
        if curve.note:
            lines.append(f"  - {curve.note}.")
        if len(set(facts)) > 1:
            lines.append("  - **Caution**: its points are of different runs or sizes.")
        if len({json.dumps(r.choices.get("task")) for r in curve.records}) > 1:
            lines.append("  - **Caution**: its points are of different options of the task.")
        others = {other_reference(r, str(curve.metric), reference) for r in curve.records}
        lines += [f"  - Distances {REFERENCES.get(one, one)}." for one in sorted(others - {""})]
        words = {r.protocol.get(str(curve.metric)) for r in curve.records} - {None}
        lines += [f"  - {text}." for text in sorted(map(str, words))]
        if line.over:
            points = ", ".join(
                f"{x:g}: {y:.4g}{'' if spread is None else f' ± {spread:.2g}'}"
                for (x, y), spread in zip(curve.points, curve.spreads, strict=True)
            )
            lines.append(f"  - {line.over.rsplit('.', 1)[-1]}: {points}.")
    if line.printed:
        points = ", ".join(f"{x:g}: {y:g}" for x, y in line.printed)
        lines.append(f"  - The paper ({line.source}): {points}.")
    by_reason: dict[str, list[tuple[float | None, Missing]]] = {}
    for value, missing in curve.missing:
        by_reason.setdefault(missing.reason, []).append((value, missing))
    for reason, places in by_reason.items():
        at = ", ".join(f"{value:g}" for value, _ in places if value is not None)
        lines.append(f"- {line.label}{f' at {at}' if at else ''}: — {reason}.")
        commands = dict.fromkeys(command for _, one in places for command in one.commands)
        lines += [f"  - `{command}`" for command in commands]
    return lines


def draw_curves(filled: FilledCurves, kind: str) -> bytes:
    """Draw the panels side by side; `kind` is png or pdf.

    The paper's points have a panel of their own: they were measured on other images, and use
    another distance than miniature, so a shared axis would mislead. A line that was not measured
    is listed in the legend as "not measured".
    """
    table = filled.table
    places = []
    for panel in table.panels:
        curves = [curve for curve in filled.curves if curve.panel is panel]
        places.append((panel, curves, False))
        if any(curve.line.printed for curve in curves):
            places.append((panel, curves, True))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.0 + 4.4 * len(places), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(table.title, fontsize=10)
    grid = figure.subplots(1, len(places), squeeze=False)[0]
    for axes, (panel, curves, printed) in zip(grid, places, strict=True):
        name = f"the paper's points ({table.paper_data})"
        ours = f"{panel.label}\n{table.data}, {table.scale}".strip()
        _panel(axes, panel, curves, title=name if printed else ours, printed=printed)
    # Without the date, the same records give the same file.
    facts = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, dpi=150, metadata=facts)
    return drawn.getvalue()


def _panel(
    axes: "Axes", panel: Panel, curves: Sequence[Curve], *, title: str, printed: bool
) -> None:
    axes.set(xlabel=panel.x.label, ylabel=panel.y.label)
    axes.set_title(title, fontsize=9)
    axes.set_xscale("log" if panel.x.log else "linear")
    axes.set_yscale("log" if panel.y.log else "linear")
    axes.grid(alpha=0.3)
    right = None
    if panel.right is not None:
        right = axes.twinx()
        right.set_ylabel(panel.right.label)
        right.set_yscale("log" if panel.right.log else "linear")
    for index, curve in enumerate(curves):
        there = right if curve.line.right and right is not None else axes
        draw = _draw_printed if printed else _draw_measured
        draw(there, curve, colour=f"C{index % 10}")
    handles, labels = axes.get_legend_handles_labels()
    if right is not None:
        more = right.get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    axes.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),  # below the axes, where no line can lie
        fontsize=7,
        ncols=1 if len(labels) < 4 else 2,
    )


def _draw_measured(axes: "Axes", curve: Curve, *, colour: str) -> None:
    line = curve.line
    if curve.points:
        x, y = zip(*sorted(curve.points) if line.over else curve.points, strict=True)
        said = curve.metric if line.over else curve.note
        name = f"{line.label} ({said})" if said else line.label
        marker = "o" if len(x) < FEW else None
        axes.plot(x, y, color=colour, label=name, marker=marker, markersize=3, linewidth=1.4)
        if any(curve.spreads):
            at, mean = zip(*curve.points, strict=True)
            spreads = [spread or 0.0 for spread in curve.spreads]
            axes.errorbar(at, mean, yerr=spreads, fmt="none", ecolor=colour, capsize=2)
    elif not curve.cells[0].place.absent:
        axes.plot([], [], color=colour, linestyle=":", label=f"{line.label}: not measured")


def _draw_printed(axes: "Axes", curve: Curve, *, colour: str) -> None:
    line = curve.line
    if not line.printed:
        return
    x, y = zip(*line.printed, strict=True)
    axes.plot(x, y, color=colour, label=line.source, marker="*", markersize=9, linestyle="--")
    for at, value in line.printed:
        axes.annotate(f"  {value:g}", (at, value), fontsize=8, color=colour)
    span = [*line.values, *x]
    axes.set_xlim(min(span) - 0.05 * max(span), 1.05 * max(span))
    axes.set_ylim(0, (1.7 if line.right else 1.2) * max(y))  # separates the points of the two axes
