"""The parts of a procedural church: a nave with a gable, and a tower in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy import masonry
from idinvert.toy.drawing import Canvas, smoothstep
from idinvert.toy.masonry import Block, View

MASK_CLASSES: tuple[str, ...] = (
    "sky",
    "clouds",
    "hills",
    "ground",
    "nave",
    "roof",
    "tower",
    "spire",
    "windows",
    "door",
    "vegetation",
)
PART: dict[str, int] = {name: i for i, name in enumerate(MASK_CLASSES)}

BASE = 0.84  # y of the foot
EAVES = 0.16  # y of the upper end of the nave's walls


@dataclass(frozen=True)
class Church:
    """Sizes and colours.

    Attributes:
        p: Labels by name `[N, 1, 1]`.
        view: The camera.
        a, b: Half width and half length of the nave `[N, 1, 1]`.
        rise: Height of the gable `[N, 1, 1]`.
        nave, tower: The two blocks.
        top: y of the tower's upper end `[N, 1, 1]`.
        stone, roof, glass: RGB `[N, 3, 1, 1]`, in the light of the day.
    """

    p: dict[str, Tensor]
    view: View
    a: Tensor
    b: Tensor
    rise: Tensor
    nave: Block
    tower: Block
    top: Tensor
    stone: Tensor
    roof: Tensor
    glass: Tensor


def _wall(body: Block, church: Church) -> Tensor:
    """Masonry: joints between courses, stronger between bricks."""
    courses = 1.0 + (0.03 + 0.06 * church.p["brick"]) * torch.sin(110.0 * body.y)
    return body.shaded(church.stone) * courses[:, None]


def nave(canvas: Canvas, church: Church) -> None:
    """Side roof, walls, gable, and the windows along the side."""
    nave, view, a, b, rise = church.nave, church.view, church.a, church.b, church.rise
    # A point of the roof lies v along it, 0 to 1, and w above the eaves, 0 to 1.
    w = ((EAVES - nave.y) / rise).clamp(-0.2, 1.2)
    along = nave.x - nave.edge + w * a * view.cos
    extent = 2.0 * b * view.sin
    roof = canvas.cover(nave.y - EAVES - 0.03) * canvas.cover(EAVES - rise - nave.y)
    roof = roof * canvas.cover(-along) * canvas.cover(along - extent - 0.02)
    slope = 0.80 + 0.35 * view.direct * (view.cos * view.sun_x + 0.6)
    tiles = 1.0 + 0.05 * torch.sin(60.0 * nave.y)
    canvas.paint((church.roof * (slope * tiles)[:, None]).clamp(0.0, 1.0), roof, part=PART["roof"])

    walls = nave.between(canvas, EAVES, BASE)
    canvas.paint(_wall(nave, church), walls, part=PART["nave"])
    under = nave.between(canvas, EAVES, EAVES + 0.05) * (1.0 - nave.front)
    canvas.shade(1.0 - 0.3 * under)

    middle = nave.x - (nave.edge - a * view.cos)  # from the middle of the front
    high = (EAVES - nave.y) / rise
    gable = canvas.cover((middle.abs() - a * view.cos * (1.0 - high)) * 0.75)
    gable = gable * canvas.cover(nave.y - EAVES)
    verge = canvas.cover((middle.abs() - a * view.cos * (1.0 - high) - 0.035) * 0.75)
    verge = verge * canvas.cover(nave.y - EAVES - 0.02)
    canvas.paint(church.roof * 0.9, verge * (1.0 - gable), part=PART["roof"])
    canvas.paint(_wall(nave, church), gable, part=PART["nave"])

    half = 0.052 + 0.022 * church.p["windows"]
    second = 1.0 - nave.front
    spacing = 0.27
    across = nave.across + b  # from the near corner
    nearest = (across / spacing - 0.5).round().clamp(min=0.0)
    across = across - (nearest + 0.5) * spacing
    room = smoothstep(2.0 * b - (nearest + 0.5) * spacing, 0.08, 0.14)
    window = masonry.arch(
        canvas, nave, across=across, y=nave.y - 0.60, half=half * room, height=0.2
    )
    canvas.paint(church.glass, window * second * walls * (room > 0.1), part=PART["windows"])
    pair = masonry.arch(
        canvas, nave, across=nave.across.abs() - 0.6 * a, y=nave.y - 0.56, half=half, height=0.16
    )
    canvas.paint(church.glass, pair * nave.front * walls, part=PART["windows"])


def tower(canvas: Canvas, church: Church) -> None:
    """The tower in front, its spire with a cross, its door, belfry and round window."""
    tower, view, p, top = church.tower, church.view, church.p, church.top
    height = 0.30 + 0.26 * p["spire"]
    spire = masonry.spire(canvas, tower, bottom=top + 0.02, height=height, overhang=0.035)
    first = masonry.spire_light(canvas, tower, bottom=top + 0.02, height=height)
    light = 0.74 + 0.36 * first * (0.6 + 0.8 * view.direct)
    tip = tower.y - (top - height)
    post = canvas.cover(tower.x.abs() - 0.014) * canvas.cover((tip + 0.04).abs() - 0.07)
    beam = canvas.cover(tower.x.abs() - 0.045) * canvas.cover((tip + 0.055).abs() - 0.014)
    canvas.paint(church.roof * 0.5, torch.maximum(post, beam), part=PART["spire"])
    canvas.paint((church.roof * light[:, None]).clamp(0.0, 1.0), spire, part=PART["spire"])

    canvas.paint(_wall(tower, church), tower.between(canvas, top, BASE), part=PART["tower"])
    for y in (top, torch.full_like(top, EAVES - 0.06)):
        ledge = tower.between(canvas, y - 0.02, y + 0.025, grow=0.025)
        canvas.paint(tower.shaded(church.stone * 1.12), ledge, part=PART["tower"])
        canvas.shade(1.0 - 0.22 * tower.between(canvas, y + 0.025, y + 0.06))

    half = 0.050 + 0.016 * p["windows"]
    belfry = masonry.arch(
        canvas, tower, across=tower.across, y=tower.y - top - 0.24, half=half * 1.2, height=0.08
    )
    canvas.paint(church.glass, belfry * tower.between(canvas, top, BASE), part=PART["windows"])

    far = (tower.across**2 + (tower.y - 0.24) ** 2).sqrt()
    on = p["rose"] * tower.front * tower.between(canvas, top, BASE)
    rim = canvas.cover((far - 0.125) * tower.squeeze) * on
    canvas.paint(tower.shaded(church.stone * 1.16), rim, part=PART["tower"])
    rose = canvas.cover((far - 0.095) * tower.squeeze) * on
    canvas.paint(church.glass, rose, part=PART["windows"])
    bars = torch.maximum(
        canvas.cover((tower.across.abs() - 0.012) * tower.squeeze),
        canvas.cover((tower.y - 0.24).abs() - 0.012),
    )
    canvas.paint(church.stone, bars * rose)

    y = tower.y - BASE
    frame = masonry.arch(canvas, tower, across=tower.across, y=y, half=0.115, height=0.16)
    canvas.paint(church.stone * 1.14, frame * tower.front * tower.between(canvas, top, BASE))
    door = masonry.arch(canvas, tower, across=tower.across, y=y, half=0.085, height=0.16)
    wood = church.stone.new_tensor((0.40, 0.22, 0.12))[:, None, None]
    canvas.paint(wood * church.stone.amax(1, keepdim=True), door * tower.front, part=PART["door"])
