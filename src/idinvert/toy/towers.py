"""Procedural towers: exact attribute labels in, antialiased pictures and segmentation masks out.

Geometry in units of half the picture: x to the right, y down, both in [-1, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from idinvert.toy import landscape, masonry
from idinvert.toy import tower_parts as parts
from idinvert.toy.drawing import Canvas, column, grid, palette, rgb, smoothstep
from idinvert.toy.landscape import Row, Weather
from idinvert.toy.masonry import Block
from idinvert.toy.renderer import Renderer, in_blocks
from idinvert.toy.tower_labels import ATTRIBUTES, INDEX, sample_labels
from idinvert.toy.tower_parts import BASE, MASK_CLASSES, PART, Tower

__all__ = ["ATTRIBUTES", "MASK_CLASSES", "RENDERER", "TOWERS", "render", "sample_labels"]

RENDERER = 1  # raise whenever a pixel changes: caches and fingerprints carry it
_SKY = (
    (0.10, 0.28, 0.62),
    (0.22, 0.52, 0.86),
    (0.32, 0.66, 0.80),
    (0.56, 0.48, 0.74),
    (0.88, 0.54, 0.42),
)
_HORIZON = (
    (0.62, 0.74, 0.90),
    (0.80, 0.90, 0.97),
    (0.86, 0.95, 0.88),
    (0.95, 0.80, 0.84),
    (1.00, 0.84, 0.60),
)
_STONE = (
    (0.40, 0.33, 0.30),
    (0.70, 0.36, 0.27),
    (0.86, 0.70, 0.46),
    (0.94, 0.91, 0.84),
    (0.60, 0.63, 0.68),
)
_ROOF = ((0.20, 0.26, 0.38), (0.26, 0.54, 0.48), (0.44, 0.27, 0.18), (0.78, 0.28, 0.18))
_GROUND = ((0.34, 0.52, 0.22), (0.58, 0.62, 0.30), (0.78, 0.68, 0.48), (0.62, 0.60, 0.58))
_FRONT_ROW = Row(base=0.97, spacing=0.44, size=0.22, phase=0.37, gap=0.26)
_BACK_ROW = Row(base=0.66, spacing=0.26, size=0.12, phase=0.81, gap=0.0)


def render(labels: Tensor, *, resolution: int) -> tuple[Tensor, Tensor]:
    """Draws towers.

    Args:
        labels: float `[N, A]` in the order of `ATTRIBUTES`.
        resolution: R, pixels.

    Returns:
        uint8 pictures `[N, 3, R, R]` and uint8 masks `[N, R, R]` of indices into `MASK_CLASSES`.

    Raises:
        ValueError: `labels` is not `[N, A]`.
    """
    return in_blocks(_draw, labels, attributes=len(ATTRIBUTES), resolution=resolution)


def _weather(value: dict[str, Tensor], p: dict[str, Tensor], x: Tensor, y: Tensor) -> Weather:
    """The light: overcast days are grey, sunny ones warm."""
    bright = smoothstep(value["sunlight"], -1.0, 1.0)[:, None]
    grey, warm = (value["sunlight"].new_tensor(c) for c in ((0.56, 0.59, 0.65), (1.08, 1.05, 0.99)))
    return Weather(
        x=x,
        y=y,
        horizon=0.56 - 0.16 * p["pitch"],
        light=p["sun_side"],
        sun=smoothstep(p["sunlight"], -0.7, 1.0),
        air=rgb(torch.lerp(grey, warm, bright)),
    )


def _draw(rows: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """One block: labels float64 `[N, A]` to pictures and masks; `size` is in samples."""
    value = {name: rows[:, i] for name, i in INDEX.items()}
    p = {name: column(numbers) for name, numbers in value.items()}
    x, y = grid(size, device=rows.device)
    weather = _weather(value, p, x, y)
    top, bottom = rgb(palette(value["sky"], _SKY)), rgb(palette(value["sky"], _HORIZON))
    canvas = Canvas(
        background=landscape.sky(weather, top=weather.lit(top), bottom=weather.lit(bottom)),
        size=size,
        sample=2.0 / size,
    )
    foot = 0.24 * p["position"]
    landscape.behind(
        canvas, weather, p=p, foot=foot, ridge=0.24 - 0.08 * p["pitch"], row=_BACK_ROW,
        ground=rgb(palette(value["ground"], _GROUND)), haze=bottom, part=PART,
    )  # fmt: skip
    a = 0.29 + 0.09 * p["girth"]
    landscape.cast_shadow(canvas, weather, foot=foot, base=BASE, half=a)
    view = masonry.view_of(
        weather, angle=p["angle"], foot=foot, pitch=0.10 + 0.12 * p["pitch"], turn=math.pi / 4.2
    )
    upper = a * (0.86 - 0.26 * p["taper"])
    length = 0.78 + 0.22 * p["height"]
    tower = Tower(
        p=p,
        shaft=_part(canvas, view, a=a, round_=p["round"]),
        storey=_part(canvas, view, a=upper, round_=p["round"]),
        a=a,
        top=BASE - length,
        crown=BASE - length - 0.26 - 0.04 * p["height"],
        stone=weather.lit(rgb(palette(value["stone"], _STONE))),
        roof=weather.lit(rgb(palette(value["roof_colour"], _ROOF))),
    )
    parts.roof(canvas, tower)
    parts.walls(canvas, tower)
    parts.openings(canvas, tower)
    parts.clock(canvas, tower)
    leaves = rgb(palette(value["land"], landscape.LEAVES))
    landscape.in_front(canvas, weather, p=p, foot=foot, row=_FRONT_ROW, leaves=leaves, part=PART)
    return canvas.finish()


def _part(canvas: Canvas, view: masonry.View, *, a: Tensor, round_: Tensor) -> Block:
    """A storey of half width `a`, round or square."""
    square = masonry.block(canvas, view, x=0.0, a=a, b=a)
    drum = masonry.drum(view, x=0.0, a=a * 1.12, every=math.pi / 3)
    return masonry.either(square, drum, round_)


TOWERS = Renderer(
    name="towers_mini",
    version=RENDERER,
    attributes=ATTRIBUTES,
    mask_classes=MASK_CLASSES,
    sample_labels=sample_labels,
    render=render,
)
