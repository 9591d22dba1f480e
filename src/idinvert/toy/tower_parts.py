"""The parts of a procedural tower, drawn on the surfaces of its shaft and of its upper storey."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy import masonry
from idinvert.toy.drawing import Canvas, smoothstep
from idinvert.toy.masonry import Block

MASK_CLASSES: tuple[str, ...] = (
    "sky",
    "clouds",
    "hills",
    "ground",
    "tower",
    "roof",
    "windows",
    "door",
    "clock",
    "vegetation",
)
PART: dict[str, int] = {name: i for i, name in enumerate(MASK_CLASSES)}

BASE = 0.86  # y of the foot


@dataclass(frozen=True)
class Tower:
    """Sizes and colours.

    Attributes:
        p: Labels by name `[N, 1, 1]`.
        shaft, storey: The lower and the upper part.
        a: Half width of the shaft `[N, 1, 1]`.
        top, crown: y of the upper ends of shaft and storey `[N, 1, 1]`.
        stone, roof: RGB `[N, 3, 1, 1]`, in the light of the day.
    """

    p: dict[str, Tensor]
    shaft: Block
    storey: Block
    a: Tensor
    top: Tensor
    crown: Tensor
    stone: Tensor
    roof: Tensor


def walls(canvas: Canvas, tower: Tower) -> None:
    """Shaft, storey, ledges, battlements and turrets."""
    shaft, storey = tower.shaft, tower.storey
    courses = 1.0 + 0.05 * torch.sin(70.0 * shaft.y)
    wall = shaft.shaded(tower.stone) * courses[:, None]
    batter = 0.05 * smoothstep(shaft.y, BASE - 0.22, BASE)
    canvas.paint(wall, shaft.between(canvas, tower.top, BASE, grow=batter), part=PART["tower"])
    canvas.paint(
        storey.shaded(tower.stone * 1.04),
        storey.between(canvas, tower.crown, tower.top + 0.02),
        part=PART["tower"],
    )
    for body, y, grow in ((shaft, tower.top, 0.03), (storey, tower.crown + 0.03, 0.025)):
        ledge = body.between(canvas, y - 0.025, y + 0.03, grow=grow)
        canvas.paint(body.shaded(tower.stone * 1.14), ledge, part=PART["tower"])
        below = body.between(canvas, y + 0.03, y + 0.075)
        canvas.shade(1.0 - 0.25 * below)
    _battlements(canvas, tower)


def _battlements(canvas: Canvas, tower: Tower) -> None:
    """Merlons around the crown, where there is no tall roof; turrets at its corners."""
    p, storey = tower.p, tower.storey
    tall = 0.085 * smoothstep(-p["roof"], 0.1, 0.6)
    teeth = canvas.cover((0.15 - torch.cos(storey.across * 42.0)) / 42.0 * storey.squeeze)
    row = storey.between(canvas, tower.crown - tall, tower.crown + 0.02, grow=0.02)
    canvas.paint(storey.shaded(tower.stone * 1.08), row * teeth, part=PART["tower"])

    half = 0.068
    for side in (-1.0, 1.0):
        x = storey.x - side * storey.half
        up = tower.crown - 0.06 - storey.y
        shaft = canvas.cover(x.abs() - half) * canvas.cover(-up - 0.17) * canvas.cover(up - 0.03)
        shade = 0.9 - 0.25 * side * x / half
        canvas.paint(
            (tower.stone * shade[:, None]).clamp(0.0, 1.0), shaft * p["turrets"], part=PART["tower"]
        )
        cone = canvas.cover(x.abs() - (half + 0.02) * (1.0 - (up - 0.03) / 0.2)) * canvas.cover(
            0.03 - up
        )
        canvas.paint(
            (tower.roof * shade[:, None]).clamp(0.0, 1.0), cone * p["turrets"], part=PART["roof"]
        )


def roof(canvas: Canvas, tower: Tower) -> None:
    """From nothing over a low cap to a tall spire."""
    storey = tower.storey
    height = 0.60 * smoothstep(tower.p["roof"], -0.75, 1.25)
    bottom = tower.crown + 0.02
    area = masonry.spire(canvas, storey, bottom=bottom, height=height, overhang=0.03)
    front = masonry.spire_light(canvas, storey, bottom=bottom, height=height)
    round_ = tower.p["round"]
    flat = torch.lerp(0.74 + 0.36 * front, storey.lit, round_)
    light = torch.lerp(flat, storey.lit, 0.5)
    canvas.paint((tower.roof * light[:, None]).clamp(0.0, 1.0), area, part=PART["roof"])


def openings(canvas: Canvas, tower: Tower) -> None:
    """Rows of windows, a large opening in the upper storey, and the door."""
    shaft, storey = tower.shaft, tower.storey
    size = tower.p["windows"]
    dark = tower.stone * 0.22
    pitch = 0.28
    down = shaft.y - tower.top - 0.06
    row = (down / pitch - 0.5).round().clamp(min=0.0)
    foot = (row + 0.5) * pitch + 0.06  # of the row's windows, below the ledge
    room = smoothstep(
        BASE - 0.26 - tower.top - foot, 0.0, 0.08
    )  # the lowest ones stay off the door
    half = 0.05 + 0.03 * size
    window = masonry.arch(
        canvas,
        shaft,
        across=shaft.across,
        y=down - foot,
        half=half * room,
        height=0.07 + 0.03 * size,
    )
    window = window * shaft.between(canvas, tower.top + 0.06, BASE - 0.15) * (room > 0.05)
    canvas.paint(dark, window, part=PART["windows"])

    y = storey.y - tower.crown - 0.20
    plain = 1.0 - tower.p["clock"]
    belfry = masonry.arch(canvas, storey, across=storey.across, y=y, half=half * 1.2, height=0.05)
    belfry = belfry * storey.between(canvas, tower.crown + 0.05, tower.top) * plain
    canvas.paint(dark, belfry, part=PART["windows"])

    door = masonry.arch(
        canvas, shaft, across=shaft.across, y=shaft.y - BASE, half=0.075, height=0.12
    )
    wood = dark.new_tensor((0.30, 0.18, 0.11))[:, None, None]
    frame = masonry.arch(
        canvas, shaft, across=shaft.across, y=shaft.y - BASE, half=0.1, height=0.12
    )
    canvas.paint(tower.stone * 1.12, frame * shaft.front * (shaft.x.abs() < shaft.half))
    canvas.paint(
        wood * (tower.stone.amax(1, keepdim=True) + 0.1), door * shaft.front, part=PART["door"]
    )


def clock(canvas: Canvas, tower: Tower) -> None:
    """A white dial on the first face of the upper storey, a quarter past twelve."""
    storey = tower.storey
    y = storey.y - tower.crown - 0.155
    far = (storey.across**2 + y * y).sqrt()
    on = (
        tower.p["clock"]
        * storey.front
        * storey.between(canvas, tower.crown, tower.top + 0.05, grow=0.03)
    )
    rim = canvas.cover((far - 0.128) * storey.squeeze) * on
    canvas.paint(tower.stone * 0.30, rim, part=PART["clock"])
    dial = canvas.cover((far - 0.102) * storey.squeeze) * on
    canvas.paint(storey.shaded(torch.full_like(tower.stone, 0.98)), dial, part=PART["clock"])
    minute = canvas.cover(y.abs() - 0.014) * canvas.cover((storey.across - 0.04).abs() - 0.04)
    hour = canvas.cover((storey.across.abs() - 0.014) * storey.squeeze) * canvas.cover(
        (y + 0.035).abs() - 0.035
    )
    canvas.paint(tower.stone * 0.15, torch.maximum(minute, hour) * dial)
