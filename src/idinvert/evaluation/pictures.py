"""Grids of images: plain ones, and sheets laid out like the paper's figures as PNG and PDF."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from idinvert.data.convert import to_uint8
from idinvert.durable import written_whole

INK, PAPER = "#202020", "white"
DPI = 100
FONT, SMALLEST = 10.0, 6.0
LINE = 18  # pixels of a line of text
SLACK = 1.05  # a rasteriser's letters stand a little wider than their outlines
GAP, WIDE = 4, 18  # pixels between images, and between groups of them


def to_image(image: Tensor, *, scale: int = 1) -> Image.Image:
    """A picture, every pixel enlarged to `scale` × `scale`.

    Args:
        image: uint8 [3, H, W], or float [3, H, W] in [-1, 1] (clamped).
        scale: whole number of 1 or more.
    """
    if image.dtype != torch.uint8:
        image = to_uint8(image)
    picture = Image.fromarray(image.cpu().permute(1, 2, 0).contiguous().numpy())
    size = (picture.width * scale, picture.height * scale)
    return picture if scale == 1 else picture.resize(size, Image.Resampling.NEAREST)


def default_scale(resolution: int, *, side: int = 128) -> int:
    """The least whole factor that makes an image at least `side` pixels wide."""
    return max(1, -(-side // resolution))


def grid(
    rows: Sequence[Sequence[Tensor]],
    *,
    labels: Sequence[str] = (),
    headers: Sequence[str] = (),
    scale: int | None = None,
    gap: int = 4,
) -> Image.Image:
    """Rows of images on white, a label before each row and a header above each column.

    Args:
        rows: images of one size, see `to_image`; rows may differ in length.
        labels: one a row, or none.
        headers: one a column, or none.
        scale: enlargement; None for `default_scale`.
        gap: pixels between images.

    Raises:
        ValueError: no images, images of several sizes, or labels that do not match the rows.
    """
    sizes = {tuple(image.shape[-2:]) for row in rows for image in row}
    if len(sizes) != 1:
        raise ValueError(f"a grid takes images of one size, got {sorted(sizes)}")
    if labels and len(labels) != len(rows):
        raise ValueError(f"got {len(labels)} labels for {len(rows)} rows")
    height, width = next(iter(sizes))
    scale = scale or default_scale(width)
    height, width = height * scale, width * scale
    font = ImageFont.load_default(size=14)
    margin = max((round(font.getlength(label)) for label in labels), default=0)
    left = margin + 2 * gap if margin else gap
    top = 20 + gap if headers else gap
    columns = max(len(row) for row in rows)
    sheet = Image.new(
        "RGB", (left + columns * (width + gap), top + len(rows) * (height + gap)), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for j, header in enumerate(headers):
        middle = left + j * (width + gap) + width // 2
        draw.text((middle, top // 2), header, fill=INK, font=font, anchor="mm")
    for i, row in enumerate(rows):
        y = top + i * (height + gap)
        if labels:
            draw.text((gap, y + height // 2), labels[i], fill=INK, font=font, anchor="lm")
        for j, image in enumerate(row):
            sheet.paste(to_image(image, scale=scale), (left + j * (width + gap), y))
    return sheet


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Rows of square images with words around them.

    Attributes:
        rows: images uint8 [3, R, R] or float [3, R, R] in [-1, 1]; None leaves a place empty. They
            may differ in R: all are shown at one size.
        labels: one before each row, or none.
        headers: words above the columns and how many columns each spans; columns under one header
            stand close together.
        groups: words at the far left and how many rows each spans; groups are set apart.
        crossed: where a place that is empty shall be crossed out, because its image is missing.
    """

    rows: Sequence[Sequence[Tensor | None]]
    labels: Sequence[str] = ()
    headers: Sequence[tuple[str, int]] = ()
    groups: Sequence[tuple[str, int]] = ()
    crossed: bool = False

    def check(self) -> None:
        """Make sure that words and images fit together.

        Raises:
            ValueError: no images, or spans and labels of another length.
        """
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

    Every pixel is enlarged to a square of its own, so that small images can be looked at; in the
    PDF the words are text.

    Args:
        sheet: what to show.
        folder: is made where it is not there.
        name: of the files.

    Returns:
        The two files.

    Raises:
        ValueError: from `Sheet.check`.
    """
    figure = draw(sheet)
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    log = logging.getLogger("fontTools")
    level = log.level
    log.setLevel(logging.WARNING)  # it tells of every table of a font
    try:
        with matplotlib.rc_context({"pdf.fonttype": 42, "image.composite_image": False}):
            for path, unset in zip(paths, ("Software", "CreationDate"), strict=True):
                with written_whole(path) as whole:
                    kind = path.suffix[1:]
                    figure.savefig(whole, format=kind, dpi=DPI, metadata={unset: None})
    finally:
        log.setLevel(level)
    return paths


def draw(sheet: Sheet) -> Figure:
    """The sheet as a figure, one unit of its axes a pixel of the PNG."""
    sheet.check()
    sides = [image.shape[-1] for row in sheet.rows for image in row if image is not None]
    side = max(sides) * default_scale(max(sides), side=96)
    columns = max(len(row) for row in sheet.rows)
    wraps, small = _fitted(sheet.headers, side)
    upright, smaller = _fitted(sheet.groups, side)
    margin = max((_width(label) for label in sheet.labels), default=0)
    left = GAP + (margin + 2 * GAP if margin else 0)
    if sheet.groups:
        left += max(len(lines) for lines in upright) * LINE + GAP
    top = GAP + max((len(lines) for lines in wraps), default=0) * LINE
    xs = _places(left, [span for _, span in sheet.headers] or [columns], side)
    ys = _places(top, [span for _, span in sheet.groups] or [len(sheet.rows)], side)
    width, height = xs[-1] + side + GAP, ys[-1] + side + GAP

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for y, row in zip(ys, sheet.rows, strict=True):
        for x, image in zip(xs, row, strict=False):
            if image is not None:
                pixels = _enlarged(image, side)
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


def _places(start: int, spans: Sequence[int], side: int) -> list[int]:
    """Where images begin: close together within a span, apart between spans."""
    wide = WIDE if any(span > 1 for span in spans) else GAP
    places, here = [], start
    for span in spans:
        for _ in range(span):
            places.append(here)
            here += side + GAP
        here += wide - GAP
    return places


def _enlarged(image: Tensor, side: int) -> np.ndarray:
    picture = to_image(image)
    return np.asarray(picture.resize((side, side), Image.Resampling.NEAREST))


def _width(text: str, size: float = FONT) -> int:
    """Pixels that a line of text takes."""
    if not text.strip():
        return 0
    width = TextPath((0, 0), text, size=size).get_extents().width * DPI / 72
    return int(np.ceil(width * SLACK))


def _fitted(spans: Sequence[tuple[str, int]], side: int) -> tuple[list[list[str]], float]:
    """Words in lines that fit above their columns, and one size for all of them.

    Returns:
        The lines of each span, and points: smaller than usual where a word is too long.
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
