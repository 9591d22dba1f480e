"""Task: invert own images; writes codes, pictures and a web page."""

import csv
import itertools
import re
import time
from pathlib import Path

import torch
from torch.utils.data import Dataset

from idinvert.annotations import OnCorrupt, PathString, PositiveFloat
from idinvert.data.formats import stems_of
from idinvert.durable import written_whole
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import Chunks
from idinvert.evaluation.codes_file import Codes
from idinvert.evaluation.context import ALWAYS, EvaluationContext
from idinvert.evaluation.inversions import Inversions, predict, write_shown_tensors
from idinvert.evaluation.own_edits import Edit, Row, write_edits
from idinvert.evaluation.own_images import (
    invert_own,
    open_own,
    own_folder,
    own_identity,
)
from idinvert.evaluation.pictures import Entry, to_image, write_contact_sheet
from idinvert.evaluation.reconstruction import write_per_image
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record
from idinvert.tracking.pictures import save_picture

_PICTURE = re.compile(r"\d{5,}_.+_(input|encoder|inverted)\.png", re.DOTALL)
"""File names of `_write_pictures`; other files in the folder are not touched."""


def invert(
    context: EvaluationContext,
    *,
    out: PathString | None = None,
    on_corrupt: OnCorrupt = "skip",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
) -> list[Record]:
    """Invert own images and write codes, pictures and tables.

    If `images=` is a `codes.safetensors`, its images are generated, and nothing is inverted again.

    Images are identified by their pixels: renamed images are not inverted again, and all outputs
    use their current names. Pictures and pages of an earlier call are removed.

    Writes `codes.safetensors` (`codes` [N, L, w_dim], and `z` [N, z_dim] if z was optimised;
    metadata `names`, `generator`), `images/` with `<number>_<name>_{input,encoder,inverted}.png`,
    `per_image.csv` (a line per image), `losses.csv` (a line per image and step), `index.html`
    (self-contained), and `shown.safetensors` if the context keeps images as tensors. `parts/`,
    from which a killed run resumes, is in the run's folder, whatever `out` is.

    Args:
        context: the method; its `images=` are inverted.
        out: folder of the results, which replace those of an earlier call; None for a subfolder of
            the run's, named by the content of the images and by the method.
        on_corrupt: whether damaged and small files raise an error ("error") or are left out
            ("skip").
        allow_upscale: whether images smaller than the generator's are enlarged.
        megapixels: the largest image that is decoded; None for 134.

    Returns:
        The record on the first rank, none on the others.

    Raises:
        DataError: there are no images.
        ConfigError: no `images=`.
    """
    if not context.config["images"]:
        raise ConfigError("task=invert needs images=FOLDER, images=FILE.zip or images=FILE.")
    begin = time.monotonic()
    context, known = open_own(context, out, on_corrupt, allow_upscale, megapixels)
    if known is not None:
        given = invert_own(context, known, edited=False)
        return [] if given is None else _show_codes(context, given, out=out, begin=begin)
    parts = own_folder(context)
    folder = parts if out is None else Path(out).expanduser()
    identity = own_identity(context)
    with context.locked(folder, parts):
        found = predict(
            context, out=parts, identity=identity, keep_start=True, recompute=context.recompute
        )
        if found is None:
            return []
        record = _write_results(context, found, folder)
    records = context.finish([record], folder, pictures=False)
    print(f"look at {folder / 'index.html'}")
    return records


def _show_codes(
    context: EvaluationContext, found: Inversions, *, out: str | None, begin: float
) -> list[Record]:
    """Write the pictures of codes that were inverted before."""
    names = found.names()
    rows = [
        Row(
            names=[name],
            edits=[
                Edit(
                    stem=stem,
                    caption="inverted",
                    code=found.codes[i],
                    noise=found.noise(torch.tensor([i])),
                    picture=found.images(torch.tensor([i]))[0],
                )
            ],
        )
        for i, (name, stem) in enumerate(zip(names, stems_of(names), strict=True))
    ]
    return write_edits(
        context, found, rows, task="invert", out=out, options={}, begin=begin,
        headers=[("Inversion", 1)], measured=MetricValues(),
    )  # fmt: skip


def _write_results(context: EvaluationContext, found: Inversions, out: Path) -> Record:
    """Write all results except the parts; return the record."""
    begin = time.monotonic()
    values = {metric: found.gather(f"value.{metric}") for metric in ALWAYS}
    settings = context.inverter.settings
    every = torch.arange(len(found))
    noise, state = found.noise(every), found.state(every)
    z = found.gather("z") if settings.get("space") == "z" else None
    generator = context.checkpoints.get("generator", "")
    Codes(found.codes, found.names(), generator, noise, z, state).write(out)
    write_per_image(out / "per_image.csv", found, values=values)
    _write_losses(out / "losses.csv", found)
    if context.shown_tensors:
        write_shown_tensors(out / "shown.safetensors", found, context)
    moves = bool(settings.get("steps", 1))  # whether the method optimises
    entries = _write_pictures(out / "images", found, context.dataset, with_start=moves)
    facts = ", ".join(f"{key} {value}" for key, value in settings.items())
    write_contact_sheet(out, entries, title=f"{len(found)} inverted images", facts=facts)
    measured = MetricValues()
    for metric, column in values.items():
        measured.add_mean(metric, column, seed=context.seed)
    measured.metrics["failed_images"] = int(found.gather("failed").sum())
    return context.record("invert", measured, **found.work(begin))


def file_stem(number: int, name: str) -> str:
    """Return a file name that is unique, safe on every system and recognisable."""
    return f"{number:05d}_{stems_of([name])[0]}"


def _write_pictures(
    folder: Path, found: Inversions, images: Dataset, *, with_start: bool
) -> list[Entry]:
    """Write the PNGs, and return their entries of the contact sheet."""
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
                save_picture(file, picture)
            facts = f"mse {part.values['mse'][j]:.4f} · ssim {part.values['ssim'][j]:.3f}"
            facts += " · not finite" if part.failed[j] else ""
            entries.append(Entry(name, facts, files))
    return entries


def _write_losses(path: Path, found: Inversions) -> None:
    """Write a line per image and step: total loss and its weighted terms."""
    names = iter(found.names())
    with written_whole(path) as whole, whole.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        for k, part in enumerate(found.parts()):
            if k == 0:
                table.writerow(["index", "name", "step", "total", *part.terms])
            for j, name in enumerate(itertools.islice(names, len(part.index))):
                for step in range(len(part.losses)):
                    columns = [part.losses, *part.terms.values()]
                    losses = [f"{column[step, j].item():.6g}" for column in columns]
                    table.writerow([part.index[j].item(), name, step, *losses])
