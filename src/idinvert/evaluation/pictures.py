"""Grids of images with labels, laid out as in the paper's figures, as PNG and PDF; web pages."""

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.textpath import TextPath
from PIL import Image
from torch import Tensor

from idinvert.data.convert import to_uint8
from idinvert.durable import write, written_whole

INK, PAPER = "#202020", "white"
DPI = 100
FONT, SMALLEST = 10.0, 6.0
LABEL = 28  # longest name in a label, in letters
LINE = 18  # height of a line of text in pixels
SLACK = 1.05  # rasterised letters are slightly wider than their outlines
GAP, WIDE = 4, 18  # pixels between images, and between groups of them


def to_image(image: Tensor, *, side: int | None = None) -> Image.Image:
    """Return a picture, enlarged without smoothing.

    Args:
        image: uint8 [3, R, R], or float [3, R, R] in [-1, 1] (clamped).
        side: its width and height in pixels; None for R.
    """
    pixels = image if image.dtype == torch.uint8 else to_uint8(image)
    picture = Image.fromarray(pixels.cpu().permute(1, 2, 0).contiguous().numpy())
    return picture if side is None else picture.resize((side, side), Image.Resampling.NEAREST)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Rows of square images with labels.

    Attributes:
        rows: images uint8 [3, R, R] or float [3, R, R] in [-1, 1]; None leaves a cell empty. They
            may differ in R: all are shown at the same size.
        labels: one before each row, with one or more lines, or none.
        headers: texts above the columns and how many columns each spans; columns under one header
            are close together.
        groups: texts at the far left and how many rows each spans; groups are set apart.
        crossed: whether empty cells are crossed out, because their images are missing.

    Raises:
        ValueError: no images, or spans and labels of another length.
    """

    rows: Sequence[Sequence[Tensor | None]]
    labels: Sequence[str] = ()
    headers: Sequence[tuple[str, int]] = ()
    groups: Sequence[tuple[str, int]] = ()
    crossed: bool = False

    def __post_init__(self) -> None:
        columns = max((len(row) for row in self.rows), default=0)
        if not any(image is not None for row in self.rows for image in row):
            raise ValueError("a sheet without images")
        if self.labels and len(self.labels) != len(self.rows):
            raise ValueError(f"got {len(self.labels)} labels for {len(self.rows)} rows")
        for what, spans, count in (
            ("headers", self.headers, columns),
            ("groups", self.groups, len(self.rows)),
        ):
            if spans and sum(span for _, span in spans) != count:
                raise ValueError(f"{what} span {[span for _, span in spans]} of {count}")


def write_sheet(sheet: Sheet, folder: Path, *, name: str = "pictures") -> list[Path]:
    """Write `<name>.png` and `<name>.pdf`.

    Small images are enlarged by an integer factor without smoothing; labels in the PDF are text.

    Returns:
        The two files.
    """
    figure = draw(sheet)
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    log = logging.getLogger("fontTools")
    level = log.level
    log.setLevel(logging.WARNING)  # it logs every table of a font
    try:
        with matplotlib.rc_context({"pdf.fonttype": 42, "image.composite_image": False}):
            for path, unset in zip(paths, ("Software", "CreationDate"), strict=True):
                with written_whole(path) as whole:
                    kind = path.suffix[1:]
                    figure.savefig(whole, format=kind, dpi=DPI, metadata={unset: None})
    finally:
        log.setLevel(level)
    return paths


def grid(
    rows: Sequence[Sequence[Tensor]],
    *,
    labels: Sequence[str] = (),
    headers: Sequence[str] = (),
    scale: int | None = None,
) -> Image.Image:
    """Return rows of images as one picture, a label before each row and a header per column.

    Args:
        rows: see `Sheet`.
        labels: one per row, or none.
        headers: one per column, or none.
        scale: integer factor by which images are enlarged; None for the smallest that makes them
            at least 128 pixels wide.
    """
    named = [(header, 1) for header in headers]
    side = 128 if scale is None else scale * rows[0][0].shape[-1]
    figure = draw(Sheet(rows=rows, labels=labels, headers=named), side=side)
    canvas: Any = figure.canvas
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def draw(sheet: Sheet, *, side: int = 96) -> Figure:
    """Draw the sheet as a figure; one unit of its axes is a pixel of the PNG.

    Args:
        sheet: what to show.
        side: smallest side of an image in pixels; the largest image is enlarged by an integer.
    """
    largest = max(image.shape[-1] for row in sheet.rows for image in row if image is not None)
    side = largest * max(1, -(-side // largest))
    columns = max(len(row) for row in sheet.rows)
    wraps, small = _fitted(sheet.headers, side)
    upright, smaller = _fitted(sheet.groups, side)
    margin = max((_width(line) for label in sheet.labels for line in label.splitlines()), default=0)
    left = GAP + (margin + 2 * GAP if margin else 0)
    if sheet.groups:
        left += max(len(lines) for lines in upright) * LINE + GAP
    top = GAP + max((len(lines) for lines in wraps), default=0) * LINE
    xs = _places(left, [span for _, span in sheet.headers] or [columns], side)
    ys = _places(top, [span for _, span in sheet.groups] or [len(sheet.rows)], side)
    width, height = xs[-1] + side + GAP, ys[-1] + side + GAP

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for y, row in zip(ys, sheet.rows, strict=True):
        for x, image in zip(xs, row, strict=False):
            if image is not None:
                pixels = np.asarray(to_image(image, side=side))
                where = (x, x + side, y + side, y)
                axes.imshow(pixels, extent=where, interpolation="none", aspect="auto")
            elif sheet.crossed:
                axes.plot([x, x + side], [y, y + side], color="#c0c0c0", linewidth=1)
                axes.plot([x, x + side], [y + side, y], color="#c0c0c0", linewidth=1)
    middle: dict[str, Any] = {"ha": "center", "va": "center", "color": INK}
    first = 0
    for lines, (_, span) in zip(wraps, sheet.headers, strict=True):
        centre = (xs[first] + xs[first + span - 1] + side) / 2
        axes.text(centre, top / 2, "\n".join(lines), fontsize=small, **middle)
        first += span
    first = 0
    for lines, (_, span) in zip(upright, sheet.groups, strict=True):
        centre = (ys[first] + ys[first + span - 1] + side) / 2
        x = GAP + len(lines) * LINE // 2
        axes.text(x, centre, "\n".join(lines), fontsize=smaller, rotation=90, **middle)
        first += span
    for y, label in zip(ys, sheet.labels, strict=False):
        end: dict[str, Any] = {"ha": "right", "va": "center", "color": INK}
        axes.text(left - 2 * GAP, y + side / 2, label, fontsize=FONT, **end)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def label_of(name: str) -> str:
    """Return a picture's name as a label: shortened, with a box for each letter not in the font."""
    short = name if len(name) <= LABEL else f"{name[: LABEL - 8]}…{name[-7:]}"
    font = get_font(findfont("DejaVu Sans"))
    known = "".join(sign if font.get_char_index(ord(sign)) else "□" for sign in short)
    return known.replace("$", r"\$")  # two of them would delimit a formula


def _places(start: int, spans: Sequence[int], side: int) -> list[int]:
    """Return where images begin: close together within a span, apart between spans."""
    wide = WIDE if any(span > 1 for span in spans) else GAP
    places, here = [], start
    for span in spans:
        for _ in range(span):
            places.append(here)
            here += side + GAP
        here += wide - GAP
    return places


def _width(text: str, size: float = FONT) -> int:
    """Return the width of a line of text in pixels."""
    if not text.strip():
        return 0
    width = TextPath((0, 0), text, size=size).get_extents().width * DPI / 72
    return int(np.ceil(width * SLACK))


def _fitted(spans: Sequence[tuple[str, int]], side: int) -> tuple[list[list[str]], float]:
    """Break texts into lines that fit above their columns, and choose one font size for all.

    Returns:
        The lines of each span, and the size in points: smaller than usual if a word is too long.
    """
    size, all_lines = FONT, []
    for text, span in spans:
        width = span * (side + GAP) - GAP
        lines: list[str] = []
        for word in text.split():
            if lines and _width(f"{lines[-1]} {word}") <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        widest = max((_width(line) for line in lines), default=0)
        size = min(size, FONT * width / widest if widest else FONT)
        all_lines.append(lines)
    return all_lines, max(SMALLEST, size)


PER_PAGE = 200

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #202020; background: #fff; }
h1 { font-size: 1.3rem; } .facts { color: #606060; }
.image { margin: 1.2rem 0; } .image h2 { font-size: 1rem; margin: 0 0 .3rem; font-weight: 600; }
.image h2 span { font-weight: 400; color: #606060; margin-left: .6em; }
figure { display: inline-block; margin: 0 .5rem .5rem 0; text-align: center; }
figure img, figure video { width: 192px; height: 192px; display: block; }
figure img { image-rendering: pixelated; }
figcaption { color: #606060; font-size: .85rem; }
nav a { margin-right: .6em; }
"""


@dataclass(frozen=True)
class Entry:
    """The entry of one image on a page.

    Attributes:
        name: the user's name of it; escaped here.
        facts: text beside the name.
        pictures: caption and file (PNG, GIF, WebP or MP4), in order.
    """

    name: str
    facts: str
    pictures: Sequence[tuple[str, Path]]


def write_contact_sheet(
    folder: Path, entries: Sequence[Entry], *, title: str, facts: str
) -> list[Path]:
    """Write `index.html`, and `index-2.html` … if there are many images; returns the files."""
    pages = [entries[k : k + PER_PAGE] for k in range(0, len(entries), PER_PAGE)] or [[]]
    names = ["index.html", *(f"index-{k}.html" for k in range(2, len(pages) + 1))]
    links = " ".join(f'<a href="{name}">{k}</a>' for k, name in enumerate(names, start=1))
    for old in folder.glob("index-*.html"):  # of an earlier call with more images
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
    for caption, file in entry.pictures:
        data, kind = base64.b64encode(file.read_bytes()).decode(), file.suffix[1:]
        words = escape(caption)
        shown = f'<img alt="{words}" src="data:image/{kind};base64,{data}">'
        if kind == "mp4":
            source = f"data:video/mp4;base64,{data}"
            shown = f'<video src="{source}" autoplay loop muted playsinline></video>'
        figures += f"<figure>{shown}<figcaption>{words}</figcaption></figure>"
    name, facts = escape(entry.name), escape(entry.facts)
    return f'<div class="image"><h2>{name}<span>{facts}</span></h2>{figures}</div>'
