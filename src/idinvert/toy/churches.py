"""Procedural churches: exact attribute labels in, antialiased pictures and masks out.

Geometry in units of half the picture: x to the right, y down, both in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from idinvert.toy import church_parts as parts
from idinvert.toy import landscape, masonry
from idinvert.toy.church_labels import ATTRIBUTES, INDEX, sample_labels
from idinvert.toy.church_parts import BASE, MASK_CLASSES, PART, Church
from idinvert.toy.drawing import Canvas, column, grid, palette, rgb, smoothstep
from idinvert.toy.landscape import Row, Weather
from idinvert.toy.renderer import Renderer, in_blocks

__all__ = ["ATTRIBUTES", "CHURCHES", "MASK_CLASSES", "RENDERER", "render", "sample_labels"]

RENDERER = 1  # raise whenever a pixel changes: caches and fingerprints carry it
_TURN = 0.85  # radians at angle 1
_SKY = ((0.16, 0.36, 0.72), (0.32, 0.62, 0.90), (0.52, 0.56, 0.82), (0.80, 0.56, 0.56))
_HORIZON = ((0.74, 0.83, 0.94), (0.88, 0.95, 0.98), (0.96, 0.86, 0.82), (1.00, 0.82, 0.62))
_STONE = ((0.62, 0.62, 0.62), (0.82, 0.76, 0.62), (0.96, 0.94, 0.90))
_BRICK = ((0.48, 0.22, 0.18), (0.72, 0.34, 0.24), (0.80, 0.50, 0.34))
_ROOF = (
    (0.22, 0.25, 0.32),
    (0.34, 0.42, 0.52),
    (0.30, 0.56, 0.50),
    (0.46, 0.30, 0.20),
    (0.74, 0.32, 0.20),
)
_GROUND = ((0.30, 0.50, 0.22), (0.54, 0.62, 0.28), (0.80, 0.70, 0.48), (0.90, 0.92, 0.95))
_FRONT_ROW = Row(base=0.96, spacing=0.46, size=0.22, phase=0.37, gap=0.34)
_BACK_ROW = Row(base=0.66, spacing=0.28, size=0.15, phase=0.81, gap=0.0)


def render(labels: Tensor, *, resolution: int) -> tuple[Tensor, Tensor]:
    """Draws churches.

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
    """The light: blue nights, warm days."""
    bright = smoothstep(value["daylight"], -0.9, 0.7)[:, None]
    night, day = (value["daylight"].new_tensor(c) for c in ((0.27, 0.31, 0.47), (1.06, 1.04, 1.00)))
    return Weather(
        x=x,
        y=y,
        horizon=torch.full_like(p["sun_side"], 0.50),
        light=p["sun_side"],
        sun=smoothstep(p["daylight"], -0.4, 0.9),
        air=rgb(torch.lerp(night, day, bright)),
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
    foot = 0.16 * p["position"]
    landscape.behind(
        canvas, weather, p=p, foot=foot, ridge=torch.full_like(foot, 0.2), row=_BACK_ROW,
        ground=rgb(palette(value["ground"], _GROUND)), haze=bottom, part=PART,
    )  # fmt: skip
    church = _plan(canvas, weather, value, foot=foot)
    landscape.cast_shadow(canvas, weather, foot=foot, base=BASE, half=church.nave.half)
    parts.nave(canvas, church)
    parts.tower(canvas, church)
    leaves = rgb(palette(value["land"], landscape.LEAVES))
    landscape.in_front(canvas, weather, p=p, foot=foot, row=_FRONT_ROW, leaves=leaves, part=PART)
    return canvas.finish()


def _plan(canvas: Canvas, weather: Weather, value: dict[str, Tensor], *, foot: Tensor) -> Church:
    """Where everything of the church stands."""
    p = {name: column(numbers) for name, numbers in value.items()}
    view = masonry.view_of(weather, angle=p["angle"], foot=foot, pitch=0.10, turn=_TURN)
    a = 0.42 + 0.07 * p["nave_width"]
    b = 0.54 + 0.18 * p["nave_length"]
    nave = masonry.block(canvas, view, x=0.0, a=a, b=b)
    side = torch.full_like(a, 0.21)  # half width of the tower
    front = a * view.cos - nave.half  # x of the middle of the front
    reach = p["tower"] * view.mirror * (a - 0.3 * side) * view.cos
    tower = masonry.block(canvas, view, x=front + reach, a=side, b=side)
    walls = torch.where(
        value["brick"][:, None] > 0.5,
        palette(value["stone"], _BRICK),
        palette(value["stone"], _STONE),
    )
    night = smoothstep(-value["daylight"], -0.1, 0.4)[:, None]
    dark, lamp = (walls.new_tensor(c) for c in ((0.16, 0.20, 0.28), (1.0, 0.82, 0.38)))
    glass = torch.lerp(dark * weather.air.to(dark)[:, :, 0, 0], lamp, night)
    return Church(
        p=p, view=view, a=a, b=b, rise=0.42 + 0.18 * p["gable"], nave=nave, tower=tower,
        top=-0.22 - 0.14 * p["tower_height"], stone=weather.lit(rgb(walls)),
        roof=weather.lit(rgb(palette(value["roof_colour"], _ROOF))), glass=rgb(glass),
    )  # fmt: skip


CHURCHES = Renderer(
    name="churches_mini",
    version=RENDERER,
    attributes=ATTRIBUTES,
    mask_classes=MASK_CLASSES,
    sample_labels=sample_labels,
    render=render,
)
