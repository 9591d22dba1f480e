"""Task: invert one's own images; codes, pictures and a page come out."""

import csv
import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from idinvert.checkpoints.tensor_file import write_tensors
from idinvert.config.identity import inversion_identity
from idinvert.data.domain import ids_of
from idinvert.evaluation.chunk_store import Chunks, limit
from idinvert.evaluation.contact_sheet import Entry, write_contact_sheet
from idinvert.evaluation.measures import ALWAYS, Measures
from idinvert.evaluation.pictures import to_image
from idinvert.evaluation.predict import Predictions, predict
from idinvert.evaluation.provenance import Provenance, precision_in_words
from idinvert.evaluation.reconstruction import write_per_image
from idinvert.evaluation.shown import write_shown
from idinvert.inversion.inversion import Inverter
from idinvert.metrics.figures import Figures
from idinvert.results.record import Record

_PICTURE = re.compile(r"\d{5,}_[A-Za-z0-9-_]+_(input|encoder|inverted)\.png")
"""What `file_stem` and `_write_pictures` name; another file in their folder is left alone."""


def invert(
    *,
    inverter: Inverter,
    name: str,
    generator: nn.Module,
    images: Dataset,
    origin: Provenance,
    out: Path,
    data: Mapping[str, Any],
    batch_size: int = 4,
    trainer: Mapping[str, Any] | None = None,
    num_workers: int = 0,
    recompute: bool = False,
    keep_shown: int = 0,
) -> Record | None:
    """Invert images and write everything one may want of them into `out`.

    Images are known by their pixels: those of another name are not inverted again, and all that is
    written is named as they are now. Pictures and pages of an earlier call are removed.

    `codes.safetensors` (`codes` [N, L, w_dim], and `z` [N, z_dim] where z moved; metadata `names`,
    `generator`), `images/` with
    `<number>_<name>_{input,encoder,inverted}.png`, `per_image.csv` (a line an image), `losses.csv`
    (a line an image and step), `index.html` (a page to look at, no other file needed), `parts/`
    (a killed run goes on from there).

    Args:
        inverter: the method.
        name: its name in the record.
        generator: frozen G.
        images: items with `image` uint8 [3, R, R], `id`, `name`.
        origin: what the record says besides.
        out: folder to write to.
        data: what the record says of the images, from `data_of`.
        batch_size: images inverted together; changes results by rounding alone.
        trainer: keywords of `pytorch_lightning.Trainer`.
        num_workers: processes that read images.
        recompute: forget what is there.
        keep_shown: also write the first so many images to `shown.safetensors`, see `write_shown`.

    Returns:
        The record on the first rank, None on the others.

    Raises:
        DataError: there are no images.
        ConfigError: `out` holds the results of other images or another method.
    """
    count = limit(images, None)
    measures = Measures(names=ALWAYS)
    found = predict(
        inverter=inverter,
        generator=generator,
        dataset=images,
        out=out,
        identity=identity_of(inverter, images=images, data=data, origin=origin, trainer=trainer),
        batch_size=batch_size,
        suite=measures.paired_suite,
        values=ALWAYS,
        keep_start=True,
        trainer=trainer,
        num_workers=num_workers,
        recompute=recompute,
        label=name,
    )
    if found is None:
        return None
    values = {metric: found.gather(f"value.{metric}") for metric in ALWAYS}
    kept = ["codes", "z"] if inverter.settings.get("space") == "z" else ["codes"]
    write_tensors(
        out / "codes.safetensors",
        {name: found.gather(name).contiguous() for name in kept},
        metadata={
            "names": json.dumps(found.names()),
            "generator": origin.checkpoints.get("generator", ""),
        },
    )
    write_per_image(out / "per_image.csv", found, values=values)
    _write_losses(out / "losses.csv", found)
    if keep_shown:
        shown: dict[str, Any] = {"inverter": inverter, "generator": generator, "count": keep_shown}
        write_shown(out / "shown.safetensors", found, images, **shown)
    entries = _write_pictures(out / "images", found, images, with_start=_moves(inverter))
    settings = ", ".join(f"{key} {value}" for key, value in inverter.settings.items())
    write_contact_sheet(out, entries, title=f"{count} inverted images", facts=settings)
    figures = Figures()
    for metric, column in values.items():
        figures.add_mean(metric, column, seed=origin.seed)
    figures.metrics["failed_images"] = int(found.gather("failed").sum())
    return Record(
        run=origin.run,
        task="invert",
        choices=origin.choices_with(name, inverter.settings),
        metrics=figures.metrics,
        protocol=figures.protocol,
        intervals=figures.intervals,
        n=count,
        nimg=origin.nimg,
        data=dict(data),
        checkpoints=dict(origin.checkpoints),
        versions=dict(origin.versions),
        device=found.made_on,
        batch_size=found.batch_size,
        seconds=found.seconds(),
        seed=origin.seed,
        command=origin.command,
    )


def data_of(images: Dataset, *, name: str, resolution: int) -> dict[str, Any]:
    """What a record says of one's own images; its fingerprint is of their pixels and order.

    Args:
        images: items with `image`.
        name: what to call them.
        resolution: R, pixels.
    """
    digest = hashlib.sha256()
    for i in range(len(images)):  # type: ignore[arg-type]
        digest.update(images[i]["image"].contiguous().numpy().tobytes())
    fingerprint = digest.hexdigest()[:16]
    return {"name": name, "resolution": resolution, "fingerprint": fingerprint, "split": "all"}


def identity_of(
    inverter: Inverter,
    *,
    images: Dataset,
    data: Mapping[str, Any],
    origin: Provenance,
    trainer: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What the inversions of one's own images depend on: not how the images are called."""
    return inversion_identity(
        checkpoints=origin.checkpoints,
        settings=inverter.settings,
        data={key: value for key, value in data.items() if key != "name"},
        ids=ids_of(images),
        precision=precision_in_words(trainer),
        weights={},
    )


def file_stem(number: int, name: str) -> str:
    """A file name that is unique, safe on every system and still recognisable."""
    stem = re.sub(r"[^A-Za-z0-9-]+", "_", Path(name).with_suffix("").as_posix()).strip("_")
    return f"{number:05d}_{stem[:60] or 'image'}"


def _moves(inverter: Inverter) -> bool:
    """Does the method leave its starting point, so that there are two pictures to show?"""
    return bool(inverter.settings.get("steps", 1))


def _write_pictures(
    folder: Path, found: Predictions, images: Dataset, *, with_start: bool
) -> list[Entry]:
    """Write the PNGs, and return what the contact sheet shows of them."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if _PICTURE.fullmatch(old.name):
            old.unlink()
    entries, names = [], iter(found.names())
    for chunk, part in zip(found.chunks, found.parts(), strict=True):
        inputs = Chunks(images, [chunk])[0]["image"]
        for j, name in enumerate(itertools.islice(names, len(part.index))):
            pictures = [("input", to_image(inputs[j]))]
            if with_start and part.start_images is not None:
                pictures.append(("encoder", to_image(part.start_images[j])))
            pictures.append(("inverted", to_image(part.images[j])))
            stem = file_stem(chunk[0] + j, name)
            files = [(caption, folder / f"{stem}_{caption}.png") for caption, _ in pictures]
            for (_, picture), (_, file) in zip(pictures, files, strict=True):
                picture.save(file)
            facts = f"mse {part.values['mse'][j]:.4f} · ssim {part.values['ssim'][j]:.3f}"
            facts += " · not finite" if part.failed[j] else ""
            entries.append(Entry(name, facts, files))
    return entries


def _write_losses(path: Path, found: Predictions) -> None:
    """Write a line an image and step: total loss and its weighted terms."""
    names = iter(found.names())
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        for k, part in enumerate(found.parts()):
            if k == 0:
                table.writerow(["index", "name", "step", "total", *part.terms])
            for j, name in enumerate(itertools.islice(names, len(part.index))):
                for step in range(len(part.losses)):
                    columns = [part.losses, *part.terms.values()]
                    figures = [f"{column[step, j].item():.6g}" for column in columns]
                    table.writerow([part.index[j].item(), name, step, *figures])
