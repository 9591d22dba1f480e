"""Task: how well inverters rebuild the images of a domain (Sec. 4.2; Tables 1, 3 to 7)."""

import csv
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from idinvert.config.identity import inversion_identity
from idinvert.data.convert import to_float
from idinvert.data.domain import Domain, ids_of
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import Chunks, Part
from idinvert.evaluation.measures import (
    ATTRIBUTES,
    SECONDS,
    Measures,
    measure_attributes,
)
from idinvert.evaluation.pictures import grid
from idinvert.evaluation.predict import Predictions, predict
from idinvert.evaluation.provenance import Provenance, precision_in_words
from idinvert.evaluation.reference import measure_sets
from idinvert.evaluation.shown import write_shown
from idinvert.evaluation.speed import seconds_per_image
from idinvert.inversion.inversion import Inverter
from idinvert.metrics.figures import Figures
from idinvert.results.record import Record

SHOWN = 8


def reconstruction(
    *,
    inverters: Mapping[str, Inverter],
    generator: nn.Module,
    domain: Domain,
    measures: Measures,
    origin: Provenance,
    out: Path,
    split: str = "test",
    n: int | None = None,
    batch_size: int = 16,
    trainer: Mapping[str, Any] | None = None,
    num_workers: int = 0,
    recompute: bool = False,
    keep_shown: int = 0,
) -> list[Record]:
    """Invert the first n images of a split with every inverter, and measure.

    Writes for each inverter, under `out/<name>/`: `parts/` (a killed evaluation goes on from
    there), `per_image.csv`, `reconstructions.png` (the first eight images, inputs above).

    Args:
        inverters: the methods, by the name that records carry.
        generator: frozen G.
        domain: the images, with labels where it has them.
        measures: what to measure.
        origin: what the records say besides.
        out: folder of this task.
        split: "test", "val" or "train".
        n: images; None for the whole split.
        batch_size: images inverted together; changes results by rounding alone.
        trainer: keywords of `pytorch_lightning.Trainer`.
        num_workers: processes that read images.
        recompute: forget what is there.
        keep_shown: also write the first so many images to `shown.safetensors`, see `write_shown`.

    Returns:
        One record an inverter, on the first rank; none on the others.

    Raises:
        ConfigError: metrics, data and networks do not fit together.
        DataError: the split has fewer than n images.
    """
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split is {split!r}: expected train, val or test")
    labels = [attribute.name for attribute in domain.attributes]
    measures.check(labels=labels)
    dataset = getattr(domain, split)
    data = {
        "name": domain.name,
        "resolution": domain.resolution,
        "fingerprint": domain.fingerprint,
        "split": split,
    }
    found: dict[str, Predictions | None] = {}
    for name, inverter in inverters.items():  # all first: other ranks are done after this
        if not re.fullmatch(r"[\w.+-]+", name):
            raise ConfigError(f"the inverter's name {name!r} cannot be a folder's name")
        found[name] = predict(
            inverter=inverter,
            generator=generator,
            dataset=dataset,
            out=out / name,
            identity=inversion_identity(
                checkpoints=origin.checkpoints,
                settings=inverter.settings,
                data=data,
                ids=ids_of(dataset),
                precision=precision_in_words(trainer),
                weights=measures.paired_weights,
            ),
            n=n,
            batch_size=batch_size,
            suite=measures.paired_suite,
            values=measures.paired_names,
            trainer=trainer,
            num_workers=num_workers,
            recompute=recompute,
            label=name,
        )
    records = []
    for name, predictions in found.items():
        if predictions is None:
            continue
        records.append(
            _measure(
                predictions,
                name=name,
                inverter=inverters[name],
                generator=generator,
                dataset=dataset,
                labels=labels,
                measures=measures,
                origin=origin,
                data=data,
                out=out / name,
                num_workers=num_workers,
            )
        )
        if keep_shown:
            write_shown(
                out / name / "shown.safetensors",
                predictions,
                dataset,
                inverter=inverters[name],
                generator=generator,
                count=keep_shown,
            )
    return records


def _measure(
    found: Predictions,
    *,
    name: str,
    inverter: Inverter,
    generator: nn.Module,
    dataset: Dataset,
    labels: list[str],
    measures: Measures,
    origin: Provenance,
    data: Mapping[str, Any],
    out: Path,
    num_workers: int,
) -> Record:
    """Turn the parts of one inverter into its record, table and picture."""
    begin = time.monotonic()
    values = {metric: found.gather(f"value.{metric}") for metric in measures.paired_names}
    figures = Figures()
    for metric in measures.names:
        if metric in values:
            figures.add_mean(metric, values[metric], seed=measures.seed)
    loader = DataLoader(Chunks(dataset, found.chunks), batch_size=None, num_workers=num_workers)

    if measures.set_names:
        figures = figures | measure_sets(
            (part.images for part in found.parts()),
            dataset=dataset,
            chunks=found.chunks,
            measures=measures,
            device=found.device,
            num_workers=num_workers,
        )
    if ATTRIBUTES in measures.names and measures.attribute_network is not None:
        figures = figures | measure_attributes(
            ((part.images, batch["attributes"]) for part, batch in _pairs(found, loader)),
            network=measures.attribute_network,
            labels=labels,
            device=found.device,
            seed=measures.seed,
        )
    if SECONDS in measures.names:
        for network in (generator, *inverter.networks):
            network.to(found.device)
        x = Chunks(dataset, [(0, min(measures.speed_images, len(found)))])[0]["image"]
        seconds, how = seconds_per_image(
            inverter, generator=generator, images=to_float(x).to(found.device)
        )
        figures.add(SECONDS, seconds, how)
    failed = int(found.gather("failed").sum())
    figures.add("failed_images", failed, "images whose objective left the finite numbers")

    write_per_image(out / "per_image.csv", found, values=values)
    _write_picture(out / "reconstructions.png", _pairs(found, loader), name=name)
    return Record(
        run=origin.run,
        task="reconstruction",
        choices=origin.choices_with(name, inverter.settings),
        metrics=figures.metrics,
        protocol=figures.protocol,
        intervals=figures.intervals,
        reference=measures.reference if figures.of_sets else "",
        n=len(found),
        nimg=origin.nimg,
        data=data,
        checkpoints=dict(origin.checkpoints),
        versions=dict(origin.versions),
        device=found.made_on,
        batch_size=found.batch_size,
        seconds=found.seconds() + time.monotonic() - begin,
        seed=origin.seed,
        command=origin.command,
    )


def _pairs(found: Predictions, loader: DataLoader) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Each part with the batch of images it was made from."""
    return zip(found.parts(), loader, strict=True)


def _write_picture(path: Path, pairs: Iterator[tuple[Part, dict[str, Any]]], *, name: str) -> None:
    """Show the first images: inputs above, reconstructions below."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    for part, batch in pairs:
        inputs += batch["image"]
        outputs += part.images
        if len(inputs) >= SHOWN:
            break
    grid([inputs[:SHOWN], outputs[:SHOWN]], labels=["input", name]).save(path)


def write_per_image(path: Path, found: Predictions, *, values: Mapping[str, Tensor]) -> None:
    """Write a line an image: place, id, name, metrics, loss at the start and kept, kept step."""
    losses, best = found.gather("losses", dim=1), found.gather("best_step")
    kept = losses.gather(0, best[None])[0]
    ids, failed = found.gather("ids"), found.gather("failed")
    header = ["index", "id", "name", *values, "loss_start", "loss_kept", "kept_step", "failed"]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        for i, name in enumerate(found.names()):
            figures = [f"{column[i].item():.6g}" for column in values.values()]
            ends = [f"{losses[0, i].item():.6g}", f"{kept[i].item():.6g}"]
            table.writerow(
                [i, ids[i].item(), name, *figures, *ends, best[i].item(), int(failed[i])]
            )
