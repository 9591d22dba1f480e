"""Task: how well a method reconstructs the images of a domain (Sec. 4.2; Tables 1, 3 to 7)."""

import itertools
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from idinvert.data.convert import to_float
from idinvert.errors import ConfigError
from idinvert.evaluation import code_metrics
from idinvert.evaluation import networks as wire
from idinvert.evaluation.attributes import measure_attributes
from idinvert.evaluation.chunk_store import Chunks, Part
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.default_metrics import (
    ATTRIBUTES,
    CODE_ERROR,
    EDITABILITY,
    ELSEWHERE,
    OF_CODES,
    SECONDS,
)
from idinvert.evaluation.inversions import Inversions, predict, require_codes, write_shown_tensors
from idinvert.evaluation.outputs import loader, measure_sets, write_csv
from idinvert.evaluation.pictures import grid
from idinvert.evaluation.speed import PROTOCOL, WHAT, counted, seconds_of
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record
from idinvert.tracking.pictures import save_picture

SHOWN = 8
TIMED = 3
"""Number of images for the median `seconds_per_image`."""


def reconstruct(context: EvaluationContext) -> list[Record]:
    """Invert the first n images of a split, and measure the reconstructions.

    Writes `parts/`, `per_image.csv`, `reconstructions.png` (the first eight images, inputs above),
    and `shown.safetensors` if the context keeps images as tensors, all into the folder in which
    other tasks look for inversions.

    Raises:
        ConfigError: metrics, data and networks are not compatible.
        MissingWeightsError: a metric's weights are not on this machine.
    """
    _check_metrics(context)
    out = context.inversions
    with context.locked(out.parent):
        found = predict(context, out=out, identity=context.identity, recompute=context.recompute)
        known = None
        if CODE_ERROR in context.metric_names:
            known = code_metrics.invert_known(context, found)
        if found is None:
            return []
        record = _measure(context, found, known, out=out)
        if context.shown_tensors:
            write_shown_tensors(out / "shown.safetensors", found, context)
    return context.finish([record], out, pictures=False)


def _check_metrics(context: EvaluationContext) -> None:
    """Refuse metrics that cannot be measured, before the inversions."""
    context.suite([name for name in context.metric_names if name not in ELSEWHERE])
    of_codes = [name for name in context.metric_names if name in OF_CODES]
    conditional = bool(getattr(context.generator, "c_dim", 0))
    if of_codes:
        require_codes(context, task=f"reconstruction with metric.names={','.join(of_codes)}")
    if of_codes and conditional:
        raise ConfigError(
            f"metric.names asks for {', '.join(of_codes)}, and the generator is conditional: "
            "native codes are those of a class; choose one (generator.label=0) or leave these "
            "metrics out"
        )
    if EDITABILITY in context.metric_names and (reason := code_metrics.why_not_editable(context)):
        raise ConfigError(
            f"metric.names asks for {EDITABILITY}, but {reason}; or leave this metric out"
        )
    if ATTRIBUTES not in context.metric_names:
        return
    if context.attributes is None:
        raise ConfigError(
            "metric.names asks for attributes, but there is no attribute network: set attributes, "
            "or leave this metric out"
        )
    try:
        wire.require_labels_read(context.attributes, context.labels)
        resolution = context.domain.resolution
        wire.require_reads(context.attributes, resolution, key="attributes.path")
    except ConfigError as error:
        raise ConfigError(
            f"metric.names asks for attributes, but {error}, or leave this metric out"
        ) from error


def _measure(
    context: EvaluationContext, found: Inversions, known: Inversions | None, *, out: Path
) -> Record:
    """Return the record of the inversions; write the table and the picture."""
    begin, names, inverter = time.monotonic(), context.metric_names, context.inverter
    values = {metric: found.gather(f"value.{metric}") for metric in context.paired_names}
    measured = MetricValues()
    for metric in names:
        if metric in values:
            measured.add_mean(metric, values[metric], seed=context.seed)
    failed = int(found.gather("failed").sum())
    if context.set_names:
        images = (part.images for part in found.parts())
        place: dict[str, Any] = {"chunks": found.chunks, "device": found.device}
        measured = measured | measure_sets(images, context, **place, failed=failed)
    for metric, reason in context.not_measured.items():
        for name in code_metrics.COLUMNS.get(metric, (metric,)):
            measured.add(name, math.nan, f"not measured: {reason}")
    measured = measured | code_metrics.measure_codes(context, found, known)
    if ATTRIBUTES in names:
        pairs = ((part.images, batch["attributes"]) for part, batch in _pairs(context, found))
        measured = measured | measure_attributes(
            pairs,
            network=context.attributes,
            labels=context.labels,
            device=found.device,
            seed=context.seed,
        )
    if SECONDS in names:
        generator, what = context.generator, counted(inverter)
        for network in (generator, *inverter.networks):
            network.to(found.device)
        few = Chunks(context.dataset, [(0, min(TIMED, len(found)))])[0]["image"]
        x = to_float(few.to(found.device)).to(next(generator.parameters()).dtype)
        seconds = seconds_of(what, inverter, generator=generator, images=x)
        text = PROTOCOL.format(n=len(seconds), what=WHAT[what])
        measured.add(SECONDS, statistics.median(seconds), text)
    measured.add("failed_images", failed, "images whose objective left the finite numbers")
    write_per_image(out / "per_image.csv", found, values=values)
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    few_parts = -(-SHOWN // found.batch_size)
    for part, batch in itertools.islice(_pairs(context, found), few_parts):
        inputs += batch["image"]
        outputs += part.images
    picture = grid([inputs[:SHOWN], outputs[:SHOWN]], labels=["input", context.method])
    save_picture(out / "reconstructions.png", picture)
    return context.record("reconstruction", measured, **found.work(begin))


def _pairs(context: EvaluationContext, found: Inversions) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Return each part with its batch of images."""
    batches = loader(context.dataset, found.chunks, context.num_workers)
    return zip(found.parts(), batches, strict=True)


def write_per_image(path: Path, found: Inversions, *, values: Mapping[str, Tensor]) -> None:
    """Write a line per image: index, id, name, metrics, first and kept loss, kept step."""
    losses, best = found.gather("losses", dim=1), found.gather("best_step")
    numbers = {**values, "loss_start": losses[0], "loss_kept": losses.gather(0, best[None])[0]}
    columns: dict[str, Sequence | Tensor] = {
        "index": range(len(found)),
        "id": found.gather("ids"),
        "name": found.names(),
        **{name: [f"{value:.6g}" for value in each.tolist()] for name, each in numbers.items()},
        "kept_step": best,
        "failed": found.gather("failed").int(),
    }
    write_csv(path, columns)
