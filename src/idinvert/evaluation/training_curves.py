"""Task: record a run's losses over images seen (Fig. 14)."""

from collections.abc import Sequence

from idinvert.checkpoints.release import read_header
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.provenance import command, versions
from idinvert.results.record import Record
from idinvert.tracking.run_files import read_rows, read_status


def record_curves(context: EvaluationContext, *, terms: Sequence[str]) -> list[Record]:
    """Record the losses that a run logged, so that figures can select them.

    Args:
        context: the context of the run; only its log and the header of its weights are read.
        terms: columns of `metrics.jsonl` to record, for example `loss/encoder`; those that the run
            does not have are left out.

    Returns:
        A record with `series` `<term>/nimg` (images seen) and `<term>/value`, the last value of
        each term as a metric of its name, and `diverged`: 1 if training diverged, else 0.

    Raises:
        ConfigError: no `run=RUN`, or a run without weights.
        DataError: the run logged none of the terms.
    """
    run = context.config["run"]
    if run is None:
        raise ConfigError("task=training_curves needs run=RUN: shipped networks bring no losses.")
    folder = context.training_run()
    weights = sorted((folder / "weights").glob("*.safetensors"))
    if not weights:
        raise ConfigError(f"run={run} has no weights yet: wait for its first checkpoint.")
    first = {path.stem: path for path in reversed(weights)}
    header = read_header(first.get("encoder", weights[0]), key="run").provenance
    rows = read_rows(folder / "metrics.jsonl")
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
            f"run {folder.name} logged none of {', '.join(terms)}; it has "
            f"{', '.join(there) or 'no rows yet'} (key task.terms)"
        )
    protocol = {term: "as logged in training, the last row" for term in metrics}
    metrics["diverged"] = float(read_status(folder)["state"] == "diverged")
    protocol["diverged"] = "1: not finite, or a validation error above the mean image's; else 0"
    record = Record(
        run=folder.name,
        task="training_curves",
        choices={**header["choices"], "task": {"terms": list(terms)}},
        metrics=metrics,
        protocol=protocol,
        n=max(len(values) for values in series.values()),
        nimg=int(max(max(values) for name, values in series.items() if name.endswith("/nimg"))),
        data={
            "name": header["data"],
            "resolution": context.config["data"]["resolution"],
            "fingerprint": header["data_fingerprint"],
            "split": "train",
        },
        checkpoints={},
        versions=versions(),
        seed=header["seed"],
        command=command(),
        series=series,
    )
    print(f"training_curves: {record.n} rows of run {record.run}, to {record.nimg:,} images")
    return [record]
