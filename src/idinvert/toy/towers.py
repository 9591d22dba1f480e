"""Procedural towers: antialiased images and segmentation masks from exact attribute labels.

Geometry in units of half the image: x to the right, y down, both in [-1, 1].
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy import masonry
from idinvert.toy.drawing import Canvas, palette, rgb, smoothstep
from idinvert.toy.landscape import Colours, Landscape, Row
from idinvert.toy.masonry import Block
from idinvert.toy.renderer import Columns, Renderer

_LABELS: dict[str, float | None] = {
    "clouds": None,  # none to overcast
    "sunlight": None,  # grey and flat to bright with shadows
    "vegetation": None,  # bare ground to a grove
    "height": None,  # of the shaft
    "girth": None,  # slim to stout
    "taper": None,  # upper storey wider than the shaft to much narrower
    "roof": None,  # battlements up to -0.5, then a cap to a tall spire
    "turrets": 0.4,  # pinnacles at the corners
    "clock": 0.4,
    "round": 0.4,  # a drum instead of a block
    "angle": None,  # left to right flank in view
    "pitch": None,  # seen from afar to from below: horizon, converging verticals
    "position": None,  # left to right in the image
    "sun_side": None,  # sun from the left to from the right
    "sky": None,  # along a palette of five colours
    "stone": None,  # along a palette of five colours
    "roof_colour": None,  # along a palette of four colours
    "ground": None,  # along a palette of four colours
    "windows": None,  # slits to large
    "land": None,  # moves clouds, hills and trees
}
"""Labels: None for continuous ones; for binary ones, the probability of 1."""

MASK_CLASSES = (
    "sky", "clouds", "hills", "ground", "tower", "roof", "windows", "door", "clock",
    "vegetation",
)  # fmt: skip

_BASE = 0.86  # y of the foot

_COLOURS = Colours(
    sky=(
        (0.10, 0.28, 0.62),
        (0.22, 0.52, 0.86),
        (0.32, 0.66, 0.80),
        (0.56, 0.48, 0.74),
        (0.88, 0.54, 0.42),
    ),
    horizon=(
        (0.62, 0.74, 0.90),
        (0.80, 0.90, 0.97),
        (0.86, 0.95, 0.88),
        (0.95, 0.80, 0.84),
        (1.00, 0.84, 0.60),
    ),
    ground=((0.34, 0.52, 0.22), (0.58, 0.62, 0.30), (0.78, 0.68, 0.48), (0.62, 0.60, 0.58)),
)
_STONE = (
    (0.40, 0.33, 0.30),
    (0.70, 0.36, 0.27),
    (0.86, 0.70, 0.46),
    (0.94, 0.91, 0.84),
    (0.60, 0.63, 0.68),
)
_ROOF = ((0.20, 0.26, 0.38), (0.26, 0.54, 0.48), (0.44, 0.27, 0.18), (0.78, 0.28, 0.18))
_FRONT_ROW = Row(base=0.97, spacing=0.44, size=0.22, phase=0.37, gap=0.26)
_BACK_ROW = Row(base=0.66, spacing=0.26, size=0.12, phase=0.81, gap=0.0)

_TURN = math.pi / 4.2  # radians at angle 1


def _correlated(labels: Columns, unit: Columns) -> Columns:
    """Makes the sun dimmer under overcast skies."""
    overcast, sunlight = labels["clouds"].float().clamp(min=0.0), labels["sunlight"].float()
    return {"sunlight": sunlight - 0.5 * overcast * (sunlight + 1.0)}


@dataclass(frozen=True)
class _Tower:
    """Sizes and colours of a tower.

    Attributes:
        p: Labels by name `[N, 1, 1]`.
        shaft, storey: The lower and the upper part.
        top, crown: y of the upper ends of shaft and storey `[N, 1, 1]`.
        stone, roof: RGB `[N, 3, 1, 1]` in daylight.
    """

    p: Columns
    shaft: Block
    storey: Block
    top: Tensor
    crown: Tensor
    stone: Tensor
    roof: Tensor


def _walls(canvas: Canvas, tower: _Tower) -> None:
    """Draws shaft, storey, ledges, battlements and turrets."""
    shaft, storey = tower.shaft, tower.storey
    courses = 1.0 + 0.05 * torch.sin(70.0 * shaft.y)
    wall = shaft.shaded(tower.stone) * courses[:, None]
    batter = 0.05 * smoothstep(shaft.y, _BASE - 0.22, _BASE)
    canvas.paint(wall, shaft.between(canvas, tower.top, _BASE, grow=batter), "tower")
    canvas.paint(
        storey.shaded(tower.stone * 1.04),
        storey.between(canvas, tower.crown, tower.top + 0.02),
        "tower",
    )
    for body, y, grow in ((shaft, tower.top, 0.03), (storey, tower.crown + 0.03, 0.025)):
        ledge = body.between(canvas, y - 0.025, y + 0.03, grow=grow)
        canvas.paint(body.shaded(tower.stone * 1.14), ledge, "tower")
        below = body.between(canvas, y + 0.03, y + 0.075)
        canvas.shade(1.0 - 0.25 * below)
    _battlements(canvas, tower)


def _battlements(canvas: Canvas, tower: _Tower) -> None:
    """Draws merlons around the crown, if there is no tall roof, and turrets at its corners."""
    p, storey = tower.p, tower.storey
    tall = 0.085 * smoothstep(-p["roof"], 0.1, 0.6)
    teeth = canvas.cover((0.15 - torch.cos(storey.across * 42.0)) / 42.0 * storey.squeeze)
    row = storey.between(canvas, tower.crown - tall, tower.crown + 0.02, grow=0.02)
    canvas.paint(storey.shaded(tower.stone * 1.08), row * teeth, "tower")

    half = 0.068
    for side in (-1.0, 1.0):
        x = storey.x - side * storey.half
        up = tower.crown - 0.06 - storey.y
        shaft = canvas.cover(x.abs() - half) * canvas.cover(-up - 0.17) * canvas.cover(up - 0.03)
        shade = 0.9 - 0.25 * side * x / half
        canvas.paint(
            (tower.stone * shade[:, None]).clamp(0.0, 1.0),
            shaft * p["turrets"],
            "tower",
        )
        cone = canvas.cover(x.abs() - (half + 0.02) * (1.0 - (up - 0.03) / 0.2)) * canvas.cover(
            0.03 - up
        )
        canvas.paint((tower.roof * shade[:, None]).clamp(0.0, 1.0), cone * p["turrets"], "roof")


def _roof(canvas: Canvas, tower: _Tower) -> None:
    """Draws the roof: none, a low cap, or up to a tall spire."""
    storey = tower.storey
    height = 0.60 * smoothstep(tower.p["roof"], -0.75, 1.25)
    bottom = tower.crown + 0.02
    area = masonry.spire(canvas, storey, bottom=bottom, height=height, overhang=0.03)
    front = masonry.spire_light(canvas, storey, bottom=bottom, height=height)
    round_ = tower.p["round"]
    flat = torch.lerp(0.74 + 0.36 * front, storey.lit, round_)
    light = torch.lerp(flat, storey.lit, 0.5)
    canvas.paint((tower.roof * light[:, None]).clamp(0.0, 1.0), area, "roof")


def _openings(canvas: Canvas, tower: _Tower) -> None:
    """Draws rows of windows, a large opening in the upper storey, and the door."""
    shaft, storey = tower.shaft, tower.storey
    size = tower.p["windows"]
    dark = tower.stone * 0.22
    pitch = 0.28
    down = shaft.y - tower.top - 0.06
    row = (down / pitch - 0.5).round().clamp(min=0.0)
    foot = (row + 0.5) * pitch + 0.06  # of the row's windows, below the ledge
    room = smoothstep(
        _BASE - 0.26 - tower.top - foot, 0.0, 0.08
    )  # keeps the lowest ones away from the door
    half = 0.05 + 0.03 * size
    window = masonry.arch(
        canvas,
        shaft,
        across=shaft.across,
        y=down - foot,
        half=half * room,
        height=0.07 + 0.03 * size,
    )
    window = window * shaft.between(canvas, tower.top + 0.06, _BASE - 0.15) * (room > 0.05)
    canvas.paint(dark, window, "windows")

    y = storey.y - tower.crown - 0.20
    plain = 1.0 - tower.p["clock"]
    belfry = masonry.arch(canvas, storey, across=storey.across, y=y, half=half * 1.2, height=0.05)
    belfry = belfry * storey.between(canvas, tower.crown + 0.05, tower.top) * plain
    canvas.paint(dark, belfry, "windows")

    door = masonry.arch(
        canvas, shaft, across=shaft.across, y=shaft.y - _BASE, half=0.075, height=0.12
    )
    wood = dark.new_tensor((0.30, 0.18, 0.11))[:, None, None]
    frame = masonry.arch(
        canvas, shaft, across=shaft.across, y=shaft.y - _BASE, half=0.1, height=0.12
    )
    canvas.paint(tower.stone * 1.12, frame * shaft.front * (shaft.x.abs() < shaft.half))
    canvas.paint(wood * (tower.stone.amax(1, keepdim=True) + 0.1), door * shaft.front, "door")


def _clock(canvas: Canvas, tower: _Tower) -> None:
    """Draws a white dial on the first face of the upper storey, at a quarter past twelve."""
    storey = tower.storey
    y = storey.y - tower.crown - 0.155
    far = (storey.across**2 + y * y).sqrt()
    on = (
        tower.p["clock"]
        * storey.front
        * storey.between(canvas, tower.crown, tower.top + 0.05, grow=0.03)
    )
    rim = canvas.cover((far - 0.128) * storey.squeeze) * on
    canvas.paint(tower.stone * 0.30, rim, "clock")
    dial = canvas.cover((far - 0.102) * storey.squeeze) * on
    canvas.paint(storey.shaded(torch.full_like(tower.stone, 0.98)), dial, "clock")
    minute = canvas.cover(y.abs() - 0.014) * canvas.cover((storey.across - 0.04).abs() - 0.04)
    hour = canvas.cover((storey.across.abs() - 0.014) * storey.squeeze) * canvas.cover(
        (y + 0.035).abs() - 0.035
    )
    canvas.paint(tower.stone * 0.15, torch.maximum(minute, hour) * dial)


def _draw(value: Columns, p: Columns, size: int) -> tuple[Tensor, Tensor]:
    """Draws one block; see `Renderer.draw`."""
    land = Landscape.of(
        value,
        p,
        size,
        horizon=0.56 - 0.16 * p["pitch"],
        foot=0.24 * p["position"],
        sun=smoothstep(p["sunlight"], -0.7, 1.0),
        bright=smoothstep(value["sunlight"], -1.0, 1.0),
        air=((0.56, 0.59, 0.65), (1.08, 1.05, 0.99)),  # overcast days are grey, sunny ones warm
    )
    canvas = land.behind(MASK_CLASSES, _COLOURS, ridge=0.24 - 0.08 * p["pitch"], row=_BACK_ROW)
    a = 0.29 + 0.09 * p["girth"]
    land.cast_shadow(canvas, base=_BASE, half=a)
    view = masonry.view_of(land, pitch=0.10 + 0.12 * p["pitch"], turn=_TURN)
    upper = a * (0.86 - 0.26 * p["taper"])
    length = 0.78 + 0.22 * p["height"]
    tower = _Tower(
        p=p,
        shaft=_part(canvas, view, a=a, round_=p["round"]),
        storey=_part(canvas, view, a=upper, round_=p["round"]),
        top=_BASE - length,
        crown=_BASE - length - 0.26 - 0.04 * p["height"],
        stone=land.lit(rgb(palette(value["stone"], _STONE))),
        roof=land.lit(rgb(palette(value["roof_colour"], _ROOF))),
    )
    _roof(canvas, tower)
    _walls(canvas, tower)
    _openings(canvas, tower)
    _clock(canvas, tower)
    land.in_front(canvas, _FRONT_ROW)
    return canvas.finish()


def _part(canvas: Canvas, view: masonry.View, *, a: Tensor, round_: Tensor) -> Block:
    """Returns a storey of half width `a`, round or square."""
    square = masonry.block(canvas, view, x=0.0, a=a, b=a)
    drum = masonry.drum(view, x=0.0, a=a * 1.12, every=math.pi / 3)
    return masonry.either(square, drum, round_)


TOWERS = Renderer(
    name="towers_mini",
    version=1,
    shares=_LABELS,
    mask_classes=MASK_CLASSES,
    draw=_draw,
    correlated=_correlated,
    degrees={"angle": math.degrees(_TURN)},
)
