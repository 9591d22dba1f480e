"""Task: a run's losses over images seen, from its rows to a record (Fig. 14)."""

from collections.abc import Mapping, Sequence
from typing import Any

from idinvert.errors import DataError
from idinvert.evaluation.provenance import Provenance
from idinvert.results.record import Record


def training_curves(
    rows: Sequence[Mapping[str, float]],
    *,
    terms: Sequence[str],
    origin: Provenance,
    data: Mapping[str, Any],
) -> Record:
    """Turn the rows that a run logged into curves.

    Args:
        rows: of `metrics.jsonl`: `nimg` and the columns of that row.
        terms: columns to keep, for example `loss/encoder`; those the run does not have are left
            out.
        origin: of the run.
        data: what the record says of the images.

    Returns:
        A record with `series` `<term>/nimg` (images seen) and `<term>/value`, and the last value
        of each term as a metric of its name.

    Raises:
        DataError: the run logged none of the terms.
    """
    series: dict[str, list[float]] = {}
    metrics: dict[str, float] = {}
    for term in terms:
        points = [(float(row["nimg"]), float(row[term])) for row in rows if term in row]
        if points:
            series[f"{term}/nimg"] = [nimg for nimg, _ in points]
            series[f"{term}/value"] = [value for _, value in points]
            metrics[term] = points[-1][1]
    if not series:
        there = sorted({name for row in rows for name in row} - {"nimg"})
        raise DataError(
            f"run {origin.run} logged none of {', '.join(terms)}; it has "
            f"{', '.join(there) or 'no rows yet'} (key task.terms)"
        )
    return Record(
        run=origin.run,
        task="training_curves",
        choices={**origin.choices, "task": {"terms": list(terms)}},
        metrics=metrics,
        protocol={term: "as logged in training, the last row" for term in metrics},
        n=max(len(values) for values in series.values()),
        nimg=int(max(max(values) for name, values in series.items() if name.endswith("/nimg"))),
        data=dict(data),
        checkpoints=dict(origin.checkpoints),
        versions=dict(origin.versions),
        seed=origin.seed,
        command=origin.command,
        series=series,
    )
