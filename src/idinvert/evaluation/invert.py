"""Task: invert one's own images; codes, pictures and a page to look at come out."""

import base64
import csv
import hashlib
import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

import torch
from torch.utils.data import Dataset

from idinvert.config.identity import mark_of
from idinvert.data.domain import Domain
from idinvert.data.folder import read_images
from idinvert.durable import write, written_whole
from idinvert.errors import ConfigError
from idinvert.evaluation.chunk_store import Chunks
from idinvert.evaluation.codes_file import Codes
from idinvert.evaluation.context import ALWAYS, EvaluationContext
from idinvert.evaluation.inversions import Inversions, predict, write_shown_tensors
from idinvert.evaluation.pictures import to_image
from idinvert.evaluation.reconstruction import write_per_image
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record
from idinvert.tracking.pictures import save_picture

_PICTURE = re.compile(r"\d{5,}_[A-Za-z0-9-_]+_(input|encoder|inverted)\.png")
"""What `file_stem` and `_write_pictures` name; another file in their folder is left alone."""
PER_PAGE = 200

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #202020; background: #fff; }
h1 { font-size: 1.3rem; } .facts { color: #606060; }
.image { margin: 1.2rem 0; } .image h2 { font-size: 1rem; margin: 0 0 .3rem; font-weight: 600; }
.image h2 span { font-weight: 400; color: #606060; margin-left: .6em; }
figure { display: inline-block; margin: 0 .5rem .5rem 0; text-align: center; }
figure img { width: 192px; height: 192px; image-rendering: pixelated; display: block; }
figcaption { color: #606060; font-size: .85rem; }
nav a { margin-right: .6em; }
"""


@dataclass(frozen=True)
class Entry:
    """One image's line.

    Attributes:
        name: as the user knows it; escaped here.
        facts: words beside the name.
        pictures: caption and PNG file, in order.
    """

    name: str
    facts: str
    pictures: Sequence[tuple[str, Path]]


def invert(
    context: EvaluationContext,
    *,
    out: str | None = None,
    on_corrupt: Literal["error", "skip"] = "skip",
    allow_upscale: bool = False,
    megapixels: float | None = None,
) -> list[Record]:
    """Invert images of one's own and write everything one may want of them.

    Images are known by their pixels: those of another name are not inverted again, and all that is
    written is named as they are now. Pictures and pages of an earlier call are removed.

    `codes.safetensors` (`codes` [N, L, w_dim], and `z` [N, z_dim] where z moved; metadata `names`,
    `generator`), `images/` with `<number>_<name>_{input,encoder,inverted}.png`, `per_image.csv` (a
    line an image), `losses.csv` (a line an image and step), `index.html` (no other file needed),
    `parts/` (a killed run goes on from there), and `shown.safetensors` where the context wants
    images as tensors.

    Args:
        context: the method; its `images=` are inverted.
        out: folder of the results; None for one below the run's, named by what is in the images
            and by the method.
        on_corrupt: whether damaged and small files are an "error" or left out ("skip").
        allow_upscale: whether images smaller than the generator's are enlarged.
        megapixels: the largest image that is decoded; None: 134.

    Returns:
        The record on the first rank, none on the others.

    Raises:
        DataError: there are no images.
        ConfigError: no `images=`, or `out` holds the results of other images or another method.
    """
    if context.config["images"] is None:
        raise ConfigError("task=invert needs images=FOLDER, images=FILE.zip or images=FILE.")
    source, resolution = Path(context.config["images"]), context.generator.resolution
    images = read_images(
        source,
        resolution=resolution,
        on_corrupt=on_corrupt,
        allow_upscale=allow_upscale,
        megapixels=megapixels,
    )
    context = with_images(context, images, name=source.stem, resolution=resolution)
    # How the images are called makes no other inversions.
    data = {key: value for key, value in context.data.items() if key != "name"}
    identity = {**context.identity, "data": data}
    name = f"invert-{source.stem}-{context.method}-{mark_of(identity)}"
    folder = context.run_folder / name if out is None else Path(out).expanduser()
    with context.locked(folder):
        found = predict(
            context, out=folder, identity=identity, keep_start=True, recompute=context.recompute
        )
        if found is None:
            return []
        record = _write_results(context, found, folder)
    records = context.finish([record], folder, pictures=False)
    print(f"look at {folder / 'index.html'}")
    return records


def with_images(
    context: EvaluationContext, images: Dataset, *, name: str, resolution: int
) -> EvaluationContext:
    """The context on images of one's own; their fingerprint is of their pixels and order."""
    digest = hashlib.sha256()
    for i in range(len(images)):  # type: ignore[arg-type]
        digest.update(images[i]["image"].contiguous().numpy().tobytes())
    fingerprint = digest.hexdigest()[:16]
    domain = Domain(name, resolution, images, images, images, fingerprint)
    ours = {"domain": domain, "dataset": images, "split": "all", "n": None}
    return context.replaced(**ours, metric_names=ALWAYS, seed=context.provenance["seed"])


def _write_results(context: EvaluationContext, found: Inversions, out: Path) -> Record:
    """Everything but the parts; returns the record."""
    begin = time.monotonic()
    values = {metric: found.gather(f"value.{metric}") for metric in ALWAYS}
    settings = context.inverter.settings
    noise = found.noise(torch.arange(len(found)))
    z = found.gather("z") if settings.get("space") == "z" else None
    generator = context.checkpoints.get("generator", "")
    Codes(found.codes, found.names(), generator, noise, z).write(out)
    write_per_image(out / "per_image.csv", found, values=values)
    _write_losses(out / "losses.csv", found)
    if context.shown_tensors:
        write_shown_tensors(out / "shown.safetensors", found, context)
    moves = bool(settings.get("steps", 1))  # away from its starting point
    entries = _write_pictures(out / "images", found, context.dataset, with_start=moves)
    facts = ", ".join(f"{key} {value}" for key, value in settings.items())
    write_contact_sheet(out, entries, title=f"{len(found)} inverted images", facts=facts)
    measured = MetricValues()
    for metric, column in values.items():
        measured.add_mean(metric, column, seed=context.seed)
    measured.metrics["failed_images"] = int(found.gather("failed").sum())
    context = context.replaced(batch_size=min(context.batch_size, len(found)))
    return context.record("invert", measured, **found.work(begin))


def file_stem(number: int, name: str) -> str:
    """A file name that is unique, safe on every system and still recognisable."""
    stem = re.sub(r"[^A-Za-z0-9-]+", "_", Path(name).with_suffix("").as_posix()).strip("_")
    return f"{number:05d}_{stem[:60] or 'image'}"


def _write_pictures(
    folder: Path, found: Inversions, images: Dataset, *, with_start: bool
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
                save_picture(file, picture)
            facts = f"mse {part.values['mse'][j]:.4f} · ssim {part.values['ssim'][j]:.3f}"
            facts += " · not finite" if part.failed[j] else ""
            entries.append(Entry(name, facts, files))
    return entries


def _write_losses(path: Path, found: Inversions) -> None:
    """Write a line an image and step: total loss and its weighted terms."""
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


def write_contact_sheet(
    folder: Path, entries: Sequence[Entry], *, title: str, facts: str
) -> list[Path]:
    """Write `index.html`, and `index-2.html` … where there are many images; returns the files."""
    pages = [entries[k : k + PER_PAGE] for k in range(0, len(entries), PER_PAGE)] or [[]]
    names = ["index.html", *(f"index-{k}.html" for k in range(2, len(pages) + 1))]
    links = " ".join(f'<a href="{name}">{k}</a>' for k, name in enumerate(names, start=1))
    for old in folder.glob("index-*.html"):  # of more images than there are now
        old.unlink()
    paths = []
    for page, name in zip(pages, names, strict=True):
        body = "\n".join(map(_entry, page))
        nav = f"<nav>pages {links}</nav>" if len(pages) > 1 else ""
        text = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
            f'<h1>{escape(title)}</h1><p class="facts">{escape(facts)}</p>{nav}\n{body}\n{nav}'
            "</body></html>\n"
        )
        paths.append(write(folder / name, text))
    return paths


def _entry(entry: Entry) -> str:
    figures = ""
    for caption, png in entry.pictures:
        data = base64.b64encode(png.read_bytes()).decode()
        words = escape(caption)
        figures += f'<figure><img alt="{words}" src="data:image/png;base64,{data}">'
        figures += f"<figcaption>{words}</figcaption></figure>"
    name, facts = escape(entry.name), escape(entry.facts)
    return f'<div class="image"><h2>{name}<span>{facts}</span></h2>{figures}</div>'
