"""Task: precision–recall of attributes, classified from inverted codes (Fig. 3)."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from idinvert.annotations import Name, PathString
from idinvert.data.convert import to_float
from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import Chunks
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.directions import open_directions
from idinvert.evaluation.inversions import Inversions, invert_images, require_codes
from idinvert.evaluation.manipulation import Moves
from idinvert.evaluation.outputs import write_csv
from idinvert.metrics import precision_recall
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

Truth = Literal["auto", "labels", "network"]
POINTS = 101
"""Points of a curve in a record; the full curve is in curves.csv."""
SCORE = "the inverted code's mean projection on the boundary's normal over the layers it moves"


def classify(
    context: EvaluationContext,
    *,
    directions: PathString | None = None,
    found_for: Literal["stylegan", "stylegan2"] | None = None,
    names: list[Name] | None = None,
    truth: Truth = "auto",
) -> list[Record]:
    """Classify attributes by the side of the boundary on which inverted codes lie.

    The score of an attribute is the code's projection on the normal of its boundary, averaged over
    the layers that the direction moves (all if it names none). The ground truth is the exact label
    if the data has it, else the attribute network's prediction for the real image, like the
    paper's off-the-shelf classifiers; a value above 0, or a probability above 0.5, is positive.
    Writes the full curves to `curves.csv`.

    Args:
        directions, found_for, names: see `open_directions`; a boundary has its attribute's name.
        truth: "labels", "network", or "auto" for labels if there are any.

    Returns:
        The record: `ap_<attribute>` (average precision), `auc_<attribute>` (under the ROC curve),
        `positives_<attribute>` (share of positives, the average precision at chance), the means
        `ap` and `auc`, and the curves as `series` (`<attribute>/recall`, `<attribute>/precision`).
        The metrics of an attribute that all images have, or none, are NaN.

    Raises:
        ConfigError: an attribute without ground truth.
        CheckpointError: a boundary does not match G.
        DataError: no attribute with both classes.
    """
    begin = time.monotonic()
    require_codes(context, task="semantics")
    chosen = open_directions(context, path=directions, names=names, found_for=found_for)
    Moves([1]).check(context, chosen)
    sources = truth_of(context, list(chosen), truth=truth)
    marks = {name: direction.content for name, direction in chosen.items()}
    with context.task_folder("semantics", truth=truth, directions=marks) as out:
        found = invert_images(context)
        if found is None:
            return []
        measured, curves = _measure(context, found, chosen, sources)
        _write_curves(out / "curves.csv", curves)
        series: dict[str, list[float]] = {}
        for name, curve in curves.items():
            few = precision_recall.thinned(curve, POINTS)
            series[f"{name}/recall"] = [round(r, 6) for r in few.recall.tolist()]
            series[f"{name}/precision"] = [round(p, 6) for p in few.precision.tolist()]
        record = context.record(
            "semantics",
            measured,
            options={"attributes": list(chosen), "truth": truth},
            directions=chosen,
            series=series,
            **found.work(begin),
        )
        return context.finish([record], out)


def _measure(
    context: EvaluationContext,
    found: Inversions,
    directions: Mapping[str, Direction],
    sources: Mapping[str, str],
) -> tuple[MetricValues, dict[str, precision_recall.Curve]]:
    """Return the metrics of each attribute and their means; curves of those with both classes."""
    positive = _truth(context, found, sources)  # each [n]
    measured, curves = MetricValues(), dict[str, precision_recall.Curve]()
    for name, direction in directions.items():
        there, source = positive[name], sources[name]
        share, ap, auc = (f"{kind}_{name}" for kind in ("positives", "ap", "auc"))
        measured.add(share, there.double().mean().item(), f"share of images with {name}; {source}")
        if there.all() or not there.any():
            words = f"not defined: {int(there.sum())} of {len(there)} images have {name}"
            measured.add(ap, math.nan, words)
            measured.add(auc, math.nan, words)
            continue
        scores = boundary_scores(found.codes, direction)
        curves[name] = precision_recall.precision_recall_curve(scores, there)
        words = f"average precision of {name}; score: {SCORE}; {source}"
        measured.add(ap, precision_recall.average_precision(scores, there), words)
        words = f"area under the ROC curve of {name}; as {ap}"
        measured.add(auc, precision_recall.area_under_roc(scores, there), words)
    if not curves:
        raise DataError(
            f"of {len(found)} images each has or none has {', '.join(directions)}: both kinds "
            "are needed; take more images (n)"
        )
    for kind, words in (("ap", "average precision"), ("auc", "area under the ROC curve")):
        mean = sum(measured.metrics[f"{kind}_{name}"] for name in curves) / len(curves)
        measured.add(kind, mean, f"mean {words} over {', '.join(curves)}")
    return measured, curves


def boundary_scores(codes: Tensor, direction: Direction) -> Tensor:
    """Return the mean projection of codes [n, L, w_dim] on a boundary's normal, over its layers.

    Returns:
        float64 [n].
    """
    layers = list(direction.layers or range(codes.shape[1]))
    n = direction.vector.double().expand(codes.shape[1], -1)  # [L, w_dim]
    return (codes.double() * n).sum(2)[:, layers].mean(1)


def truth_of(context: EvaluationContext, names: Sequence[str], *, truth: Truth) -> dict[str, str]:
    """Describe the source of each attribute's ground truth.

    Raises:
        ConfigError: an unknown `truth`, or an attribute without ground truth.
    """
    if truth not in ("auto", "labels", "network"):
        raise ConfigError(f"task.truth is {truth!r}: expected auto, labels or network")
    network = context.attributes
    read = list(network.names) if network is not None else []
    sources = {}
    for name in names:
        if name in context.labels and truth != "network":
            sources[name] = "ground truth: labels of the data"
        elif name in read and truth != "labels":
            wire.require_reads(network, context.generator.resolution, key="attributes.path")
            sources[name] = "ground truth: read from the real image by the attribute network"
        else:
            raise ConfigError(
                f"there is no ground truth for {name!r} with task.truth={truth}: the data "
                f"({context.domain.name}) is labelled with {context.labels} and the attribute "
                f"network reads {read}; leave it out of task.names, or choose other data"
            )
    return sources


def _truth(
    context: EvaluationContext, found: Inversions, sources: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return the ground truth of each attribute, bool [n]."""
    network, chunks = context.attributes, Chunks(context.dataset, found.chunks)
    kinds = {attribute.name: attribute.kind for attribute in context.domain.attributes}
    columns: dict[str, list[Tensor]] = {name: [] for name in sources}
    if network is not None:
        network.to(found.device).eval()
    for k in range(len(chunks)):
        batch = chunks[k]
        with torch.no_grad():
            x = to_float(batch["image"].to(found.device))
            read: Any = None if network is None else network.predict(x).cpu()
        for name, source in sources.items():
            if "labels" in source:
                values, kind = batch["attributes"][:, context.labels.index(name)], kinds[name]
            else:
                place = list(network.names).index(name)
                values, kind = read[:, place], network.kinds[place]
            columns[name].append(values > (0.5 if kind == "binary" else 0.0))
    return {name: torch.cat(parts) for name, parts in columns.items()}


def _write_curves(path: Path, curves: Mapping[str, precision_recall.Curve]) -> None:
    rows = []
    for name, (precision, recall, thresholds) in curves.items():
        ends = [*thresholds.tolist(), float("inf")]
        for row in zip(ends, recall.tolist(), precision.tolist(), strict=True):
            rows.append([name, *(f"{value:.8g}" for value in row)])
    columns = ("attribute", "threshold", "recall", "precision")
    write_csv(path, dict(zip(columns, zip(*rows, strict=True), strict=True)))
