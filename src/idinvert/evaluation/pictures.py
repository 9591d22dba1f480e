"""Grids of images, enlarged pixel by pixel and labelled."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from idinvert.data.convert import to_uint8

INK, PAPER = (32, 32, 32), (255, 255, 255)


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
