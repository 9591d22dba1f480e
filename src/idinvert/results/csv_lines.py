"""A table as CSV, one line a cell, for programs."""

import csv
import io

from idinvert.results.fill import FilledTable
from idinvert.results.record import OF_SETS

HEADER = [
    "table",
    "scale",
    "group",
    "row",
    "column",
    "better",
    "metric",
    "measured",
    "low",
    "high",
    "reference",
    "data",
    "resolution",
    "n",
    "run",
    "nimg",
    "seed",
    "matched",
    "created",
    "paper",
    "paper_data",
    "reason",
]


def to_csv(filled: FilledTable) -> str:
    """Every cell: what was measured, on what, by which run, and what the paper printed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    for cell in filled.cells:
        line = {
            "table": filled.table.name,
            "scale": filled.table.scale,
            "group": cell.group.label,
            "row": cell.row.label,
            "column": cell.column.name,
            "better": cell.column.better,
            "metric": cell.metric,
            "measured": cell.value,
            "data": cell.group.data,
            "paper": cell.printed,
            "paper_data": cell.group.paper_data,
            "matched": cell.matched,
            "reason": cell.reason,
        }
        if cell.record is not None and cell.value is not None:
            line |= {
                "low": cell.interval[0] if cell.interval else None,
                "high": cell.interval[1] if cell.interval else None,
                "reference": cell.record.reference if OF_SETS.match(str(cell.metric)) else "",
                "resolution": cell.record.data.get("resolution"),
                "n": cell.record.n,
                "run": cell.record.run,
                "nimg": cell.record.nimg,
                "seed": cell.record.seed,
                "created": cell.record.created,
            }
        writer.writerow(line)
    return text.getvalue()
