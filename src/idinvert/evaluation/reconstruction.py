"""Task: how well a method rebuilds the images of a domain (Sec. 4.2; Tables 1, 3 to 7)."""

import csv
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from idinvert.data.convert import to_float
from idinvert.durable import written_whole
from idinvert.evaluation.chunk_store import Chunks, Part
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import Inversions, predict, write_shown_tensors
from idinvert.evaluation.measures import ATTRIBUTES, SECONDS, measure_attributes
from idinvert.evaluation.outputs import loader, measure_sets
from idinvert.evaluation.pictures import grid
from idinvert.evaluation.speed import seconds_per_image
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record
from idinvert.tracking.pictures import save_picture

SHOWN = 8


def reconstruct(context: EvaluationContext) -> list[Record]:
    """Invert the first n images of a split, and measure the reconstructions.

    Writes `parts/` (a killed evaluation goes on from there), `per_image.csv`,
    `reconstructions.png` (the first eight images, inputs above), and `shown.safetensors` where the
    context wants images as tensors. All of it lies where other tasks look for inversions.

    Returns:
        The record on the first rank, none on the others.

    Raises:
        ConfigError: metrics, data and networks do not fit together.
        DataError: the split has fewer than n images.
    """
    context.measures.check(labels=context.labels)
    out = context.inversions
    with context.locked(out.parent):
        found = predict(context, out=out, identity=context.identity, recompute=context.recompute)
        if found is None:
            return []
        record = _measure(context, found, out=out)
        if context.shown_tensors:
            write_shown_tensors(out / "shown.safetensors", found, context)
    return context.finish([record], out, pictures=False)


def _measure(context: EvaluationContext, found: Inversions, *, out: Path) -> Record:
    """Turn the inversions into the record, the table and the picture."""
    begin = time.monotonic()
    measures = context.measures
    values = {metric: found.gather(f"value.{metric}") for metric in measures.paired_names}
    measured = MetricValues()
    for metric in measures.names:
        if metric in values:
            measured.add_mean(metric, values[metric], seed=measures.seed)
    if measures.set_names:
        measured = measured | measure_sets(
            (part.images for part in found.parts()),
            context,
            chunks=found.chunks,
            device=found.device,
        )
    if ATTRIBUTES in measures.names and measures.attribute_network is not None:
        measured = measured | measure_attributes(
            ((part.images, batch["attributes"]) for part, batch in _pairs(context, found)),
            network=measures.attribute_network,
            labels=context.labels,
            device=found.device,
            seed=measures.seed,
        )
    if SECONDS in measures.names:
        for network in (context.generator, *context.inverter.networks):
            network.to(found.device)
        x = Chunks(context.dataset, [(0, min(measures.speed_images, len(found)))])[0]["image"]
        images = to_float(x).to(found.device)
        seconds, how = seconds_per_image(
            context.inverter, generator=context.generator, images=images
        )
        measured.add(SECONDS, seconds, how)
    failed = int(found.gather("failed").sum())
    measured.add("failed_images", failed, "images whose objective left the finite numbers")
    write_per_image(out / "per_image.csv", found, values=values)
    _write_picture(out / "reconstructions.png", _pairs(context, found), name=context.method)
    return context.replaced(batch_size=found.batch_size).record(
        "reconstruction",
        measured=measured,
        **found.work(begin),
    )


def _pairs(context: EvaluationContext, found: Inversions) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Each part with the batch of images it was made from."""
    batches = loader(context.dataset, found.chunks, context.num_workers)
    return zip(found.parts(), batches, strict=True)


def _write_picture(path: Path, pairs: Iterable[tuple[Part, dict[str, Any]]], *, name: str) -> None:
    """Show the first images: inputs above, reconstructions below."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    for part, batch in pairs:
        inputs += batch["image"]
        outputs += part.images
        if len(inputs) >= SHOWN:
            break
    save_picture(path, grid([inputs[:SHOWN], outputs[:SHOWN]], labels=["input", name]))


def write_per_image(path: Path, found: Inversions, *, values: Mapping[str, Tensor]) -> None:
    """Write a line an image: place, id, name, metrics, loss at the start and kept, kept step."""
    losses, best = found.gather("losses", dim=1), found.gather("best_step")
    kept = losses.gather(0, best[None])[0]
    ids, failed = found.gather("ids"), found.gather("failed")
    header = ["index", "id", "name", *values, "loss_start", "loss_kept", "kept_step", "failed"]
    with written_whole(path) as whole, whole.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header)
        for i, name in enumerate(found.names()):
            metrics = [f"{column[i].item():.6g}" for column in values.values()]
            ends = [f"{losses[0, i].item():.6g}", f"{kept[i].item():.6g}"]
            table.writerow(
                [i, ids[i].item(), name, *metrics, *ends, best[i].item(), int(failed[i])]
            )
