"""A figure of curves as a picture: what was measured, and the paper's points beside it."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from idinvert.results.curve import Panel
from idinvert.results.trace import Trace, TracedCurves

FEW = 20
"""Lines of fewer points than this show them."""


def draw_curves(traced: TracedCurves, path: Path) -> None:
    """Draw the panels side by side; the suffix of `path` says PNG or PDF.

    The paper's points have a panel of their own: they are of other images, and in miniature of
    another distance, so that one axis for both would mislead. A line that was not measured stands
    in the legend with "not measured", so that it is missed.
    """
    table = traced.table
    places = []
    for panel in table.panels:
        traces = [trace for trace in traced.traces if trace.panel is panel]
        places.append((panel, traces, False))
        if any(trace.line.printed for trace in traces):
            places.append((panel, traces, True))
    figure = Figure(figsize=(1.0 + 4.4 * len(places), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(table.title, fontsize=10)
    grid = figure.subplots(1, len(places), squeeze=False)[0]
    for axes, (panel, traces, printed) in zip(grid, places, strict=True):
        name = f"the paper's points ({table.paper_data})"
        ours = f"{panel.label}\n{table.data}, {table.scale}".strip()
        _panel(axes, panel, traces, title=name if printed else ours, printed=printed)
    # Without the date, the same records give the same file.
    facts = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    figure.savefig(path, dpi=150, metadata=facts)


def _panel(axes: Axes, panel: Panel, traces: Sequence[Trace], *, title: str, printed: bool) -> None:
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
    for index, trace in enumerate(traces):
        there = right if trace.line.right and right is not None else axes
        draw = _draw_printed if printed else _draw_measured
        draw(there, trace, colour=f"C{index % 10}")
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


def _draw_measured(axes: Axes, trace: Trace, *, colour: str) -> None:
    line = trace.line
    if trace.points:
        x, y = zip(*sorted(trace.points) if line.over else trace.points, strict=True)
        said = trace.metric if line.over else trace.figure
        name = f"{line.label} ({said})" if said else line.label
        marker = "o" if len(x) < FEW else None
        axes.plot(x, y, color=colour, label=name, marker=marker, markersize=3, linewidth=1.4)
    elif not any(value is None and not lack.commands for value, lack in trace.lacks):
        axes.plot([], [], color=colour, linestyle=":", label=f"{line.label}: not measured")


def _draw_printed(axes: Axes, trace: Trace, *, colour: str) -> None:
    line = trace.line
    if not line.printed:
        return
    x, y = zip(*line.printed, strict=True)
    axes.plot(x, y, color=colour, label=line.source, marker="*", markersize=9, linestyle="--")
    for at, value in line.printed:
        axes.annotate(f"  {value:g}", (at, value), fontsize=8, color=colour)
    span = [*line.values, *x]
    axes.set_xlim(min(span) - 0.05 * max(span), 1.05 * max(span))
    axes.set_ylim(0, (1.7 if line.right else 1.2) * max(y))  # so that two axes' points part
