"""The page and the points beside a figure of curves."""

import csv
import io
import json
from typing import Any

from idinvert.results.figures import REFERENCES
from idinvert.results.lack import Lack
from idinvert.results.select import other_reference
from idinvert.results.trace import Trace, TracedCurves

HEADER = ["figure", "scale", "panel", "line", "metric", "x", "y", "data", "run", "nimg", "n"]


def curves_to_markdown(traced: TracedCurves) -> str:
    """What the picture shows, by which runs, and what is missing; ends in a newline."""
    table = traced.table
    lines = [f"# {table.title}", "", f"![{table.name}]({table.name}.{table.scale}.png)", ""]
    lines += [f"- Scale: {table.scale}; data: {table.data}; the paper's: {table.paper_data}."]
    lines += [f"- {note}" for note in table.notes]
    for panel in table.panels:
        lines += ["", f"## {panel.label or table.name}", ""]
        for trace in (trace for trace in traced.traces if trace.panel is panel):
            lines += _of_line(trace, reference=table.reference)
    return "\n".join(lines) + "\n"


def curves_to_csv(traced: TracedCurves) -> str:
    """A line a point, for programs; the paper's points have `paper` for a run."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    for trace in traced.traces:
        table = traced.table
        place: dict[str, Any] = {
            "figure": table.name,
            "scale": table.scale,
            "panel": trace.panel.label,
        }
        place |= {"line": trace.line.label, "metric": trace.metric}
        of_points = trace.records if trace.line.over else list(trace.records) * len(trace.points)
        for (x, y), record in zip(trace.points, of_points, strict=True):
            facts = {"run": record.run, "nimg": record.nimg, "n": record.n, "data": table.data}
            writer.writerow({**place, "x": x, "y": y, **facts})
        for x, y in trace.line.printed:
            writer.writerow({**place, "x": x, "y": y, "data": table.paper_data, "run": "paper"})
    return text.getvalue()


def _of_line(trace: Trace, *, reference: str) -> list[str]:
    line, lines = trace.line, []
    if trace.points:
        facts = {
            f"run {r.run} (nimg {r.nimg:,}, n {r.n:,}, seed {r.seed}, {r.created[:10]})": None
            for r in trace.records
        }
        lines.append(
            f"- {line.label}: {trace.metric}, {len(trace.points)} points; {'; '.join(facts)}."
        )
        if trace.figure:
            lines.append(f"  - {trace.figure}.")
        if len(facts) > 1:
            lines.append("  - **Caution**: its points are of different runs or sizes.")
        if len({json.dumps(r.choices.get("task")) for r in trace.records}) > 1:
            lines.append("  - **Caution**: its points are of different options of the task.")
        asides = {other_reference(r, str(trace.metric), reference) for r in trace.records}
        lines += [
            f"  - Distances {REFERENCES.get(aside, aside)}." for aside in sorted(asides - {""})
        ]
        words = {r.protocol.get(str(trace.metric)) for r in trace.records} - {None}
        lines += [f"  - {text}." for text in sorted(map(str, words))]
        if line.over:
            points = ", ".join(f"{x:g}: {y:.4g}" for x, y in trace.points)
            lines.append(f"  - {line.over.rsplit('.', 1)[-1]}: {points}.")
    if line.printed:
        points = ", ".join(f"{x:g}: {y:g}" for x, y in line.printed)
        lines.append(f"  - The paper ({line.source}): {points}.")
    by_reason: dict[str, list[tuple[float | None, Lack]]] = {}
    for value, lack in trace.lacks:
        by_reason.setdefault(lack.reason, []).append((value, lack))
    for reason, lacks in by_reason.items():
        places = ", ".join(f"{value:g}" for value, _ in lacks if value is not None)
        lines.append(f"- {line.label}{f' at {places}' if places else ''}: — {reason}.")
        commands = dict.fromkeys(command for _, lack in lacks for command in lack.commands)
        lines += [f"  - `{command}`" for command in commands]
    return lines
