"""Procedural churches: antialiased images and masks from exact attribute labels.

Geometry in units of half the image: x to the right, y down, both in [-1, 1].
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy import masonry
from idinvert.toy.drawing import Canvas, palette, rgb, smoothstep
from idinvert.toy.landscape import Colours, Landscape, Row
from idinvert.toy.masonry import Block, View
from idinvert.toy.renderer import Columns, Renderer

_LABELS: dict[str, float | None] = {
    "spire": None,  # low cap to tall spire
    "daylight": None,  # night with lit windows to bright day
    "brick": 0.5,  # brick instead of stone
    "nave_length": None,
    "nave_width": None,
    "gable": None,  # flat to steep roof of the nave
    "tower": None,  # at the left, in the middle, at the right of the front
    "tower_height": None,
    "rose": 0.5,  # a round window on the tower
    "windows": None,  # narrow to wide
    "angle": None,  # left to right flank in view
    "position": None,  # left to right in the image
    "sun_side": None,  # sun from the left to from the right
    "sky": None,  # along a palette of four colours
    "stone": None,  # shade of stone or brick
    "roof_colour": None,  # along a palette of five colours
    "ground": None,  # along a palette of four colours
    "clouds": None,  # none to overcast
    "vegetation": None,  # bare ground to a grove
    "land": None,  # moves clouds, hills and trees
}
"""Labels: None for continuous ones; for binary ones, the probability of 1."""

MASK_CLASSES = (
    "sky", "clouds", "hills", "ground", "nave", "roof", "tower", "spire", "windows", "door",
    "vegetation",
)  # fmt: skip

_BASE = 0.84  # y of the foot
_EAVES = 0.16  # y of the upper end of the nave's walls

_TURN = 0.85  # radians at angle 1
_COLOURS = Colours(
    sky=((0.16, 0.36, 0.72), (0.32, 0.62, 0.90), (0.52, 0.56, 0.82), (0.80, 0.56, 0.56)),
    horizon=((0.74, 0.83, 0.94), (0.88, 0.95, 0.98), (0.96, 0.86, 0.82), (1.00, 0.82, 0.62)),
    ground=((0.30, 0.50, 0.22), (0.54, 0.62, 0.28), (0.80, 0.70, 0.48), (0.90, 0.92, 0.95)),
)
_STONE = ((0.62, 0.62, 0.62), (0.82, 0.76, 0.62), (0.96, 0.94, 0.90))
_BRICK = ((0.48, 0.22, 0.18), (0.72, 0.34, 0.24), (0.80, 0.50, 0.34))
_ROOF = (
    (0.22, 0.25, 0.32),
    (0.34, 0.42, 0.52),
    (0.30, 0.56, 0.50),
    (0.46, 0.30, 0.20),
    (0.74, 0.32, 0.20),
)
_FRONT_ROW = Row(base=0.96, spacing=0.46, size=0.22, phase=0.37, gap=0.34)
_BACK_ROW = Row(base=0.66, spacing=0.28, size=0.15, phase=0.81, gap=0.0)


def _correlated(labels: Columns, unit: Columns) -> Columns:
    """Makes days more frequent than nights."""
    daylight = (labels["daylight"].float() + 1.0) * 0.5
    return {"daylight": 2.0 * daylight * (1.6 - 0.6 * daylight) - 1.0}


@dataclass(frozen=True)
class _Church:
    """Sizes and colours of a church.

    Attributes:
        p: Labels by name `[N, 1, 1]`.
        view: The camera.
        a, b: Half width and half length of the nave `[N, 1, 1]`.
        rise: Height of the gable `[N, 1, 1]`.
        nave, tower: The two blocks.
        top: y of the tower's upper end `[N, 1, 1]`.
        stone, roof, glass: RGB `[N, 3, 1, 1]` in daylight.
    """

    p: Columns
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


def _wall(body: Block, church: _Church) -> Tensor:
    """Returns masonry with joints between courses, stronger for bricks."""
    courses = 1.0 + (0.03 + 0.06 * church.p["brick"]) * torch.sin(110.0 * body.y)
    return body.shaded(church.stone) * courses[:, None]


def _nave(canvas: Canvas, church: _Church) -> None:
    """Draws side roof, walls, gable, and the windows along the side."""
    nave, view, a, b, rise = church.nave, church.view, church.a, church.b, church.rise
    # A point of the roof has coordinates v along it and w above the eaves, both 0 to 1.
    w = ((_EAVES - nave.y) / rise).clamp(-0.2, 1.2)
    along = nave.x - nave.edge + w * a * view.cos
    extent = 2.0 * b * view.sin
    roof = canvas.cover(nave.y - _EAVES - 0.03) * canvas.cover(_EAVES - rise - nave.y)
    roof = roof * canvas.cover(-along) * canvas.cover(along - extent - 0.02)
    slope = 0.80 + 0.35 * view.direct * (view.cos * view.sun_x + 0.6)
    tiles = 1.0 + 0.05 * torch.sin(60.0 * nave.y)
    canvas.paint((church.roof * (slope * tiles)[:, None]).clamp(0.0, 1.0), roof, "roof")

    walls = nave.between(canvas, _EAVES, _BASE)
    canvas.paint(_wall(nave, church), walls, "nave")
    under = nave.between(canvas, _EAVES, _EAVES + 0.05) * (1.0 - nave.front)
    canvas.shade(1.0 - 0.3 * under)

    middle = nave.x - (nave.edge - a * view.cos)  # from the middle of the front
    high = (_EAVES - nave.y) / rise
    gable = canvas.cover((middle.abs() - a * view.cos * (1.0 - high)) * 0.75)
    gable = gable * canvas.cover(nave.y - _EAVES)
    verge = canvas.cover((middle.abs() - a * view.cos * (1.0 - high) - 0.035) * 0.75)
    verge = verge * canvas.cover(nave.y - _EAVES - 0.02)
    canvas.paint(church.roof * 0.9, verge * (1.0 - gable), "roof")
    canvas.paint(_wall(nave, church), gable, "nave")

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
    canvas.paint(church.glass, window * second * walls * (room > 0.1), "windows")
    pair = masonry.arch(
        canvas, nave, across=nave.across.abs() - 0.6 * a, y=nave.y - 0.56, half=half, height=0.16
    )
    canvas.paint(church.glass, pair * nave.front * walls, "windows")


def _tower(canvas: Canvas, church: _Church) -> None:
    """Draws the tower in front, its spire with a cross, its door, belfry and round window."""
    tower, view, p, top = church.tower, church.view, church.p, church.top
    height = 0.30 + 0.26 * p["spire"]
    spire = masonry.spire(canvas, tower, bottom=top + 0.02, height=height, overhang=0.035)
    first = masonry.spire_light(canvas, tower, bottom=top + 0.02, height=height)
    light = 0.74 + 0.36 * first * (0.6 + 0.8 * view.direct)
    tip = tower.y - (top - height)
    post = canvas.cover(tower.x.abs() - 0.014) * canvas.cover((tip + 0.04).abs() - 0.07)
    beam = canvas.cover(tower.x.abs() - 0.045) * canvas.cover((tip + 0.055).abs() - 0.014)
    canvas.paint(church.roof * 0.5, torch.maximum(post, beam), "spire")
    canvas.paint((church.roof * light[:, None]).clamp(0.0, 1.0), spire, "spire")

    canvas.paint(_wall(tower, church), tower.between(canvas, top, _BASE), "tower")
    for y in (top, torch.full_like(top, _EAVES - 0.06)):
        ledge = tower.between(canvas, y - 0.02, y + 0.025, grow=0.025)
        canvas.paint(tower.shaded(church.stone * 1.12), ledge, "tower")
        canvas.shade(1.0 - 0.22 * tower.between(canvas, y + 0.025, y + 0.06))

    half = 0.050 + 0.016 * p["windows"]
    belfry = masonry.arch(
        canvas, tower, across=tower.across, y=tower.y - top - 0.24, half=half * 1.2, height=0.08
    )
    canvas.paint(church.glass, belfry * tower.between(canvas, top, _BASE), "windows")

    far = (tower.across**2 + (tower.y - 0.24) ** 2).sqrt()
    on = p["rose"] * tower.front * tower.between(canvas, top, _BASE)
    rim = canvas.cover((far - 0.125) * tower.squeeze) * on
    canvas.paint(tower.shaded(church.stone * 1.16), rim, "tower")
    rose = canvas.cover((far - 0.095) * tower.squeeze) * on
    canvas.paint(church.glass, rose, "windows")
    bars = torch.maximum(
        canvas.cover((tower.across.abs() - 0.012) * tower.squeeze),
        canvas.cover((tower.y - 0.24).abs() - 0.012),
    )
    canvas.paint(church.stone, bars * rose)

    y = tower.y - _BASE
    frame = masonry.arch(canvas, tower, across=tower.across, y=y, half=0.115, height=0.16)
    canvas.paint(church.stone * 1.14, frame * tower.front * tower.between(canvas, top, _BASE))
    door = masonry.arch(canvas, tower, across=tower.across, y=y, half=0.085, height=0.16)
    wood = church.stone.new_tensor((0.40, 0.22, 0.12))[:, None, None]
    canvas.paint(wood * church.stone.amax(1, keepdim=True), door * tower.front, "door")


def _draw(value: Columns, p: Columns, size: int) -> tuple[Tensor, Tensor]:
    """Draws one block; see `Renderer.draw`."""
    foot = 0.16 * p["position"]
    land = Landscape.of(
        value,
        p,
        size,
        horizon=torch.full_like(foot, 0.50),
        foot=foot,
        sun=smoothstep(p["daylight"], -0.4, 0.9),
        bright=smoothstep(value["daylight"], -0.9, 0.7),
        air=((0.27, 0.31, 0.47), (1.06, 1.04, 1.00)),  # nights are blue, days warm
    )
    canvas = land.behind(MASK_CLASSES, _COLOURS, ridge=torch.full_like(foot, 0.2), row=_BACK_ROW)
    church = _plan(canvas, land)
    land.cast_shadow(canvas, base=_BASE, half=church.nave.half)
    _nave(canvas, church)
    _tower(canvas, church)
    land.in_front(canvas, _FRONT_ROW)
    return canvas.finish()


def _plan(canvas: Canvas, land: Landscape) -> _Church:
    """Returns the position of all parts of the church."""
    value, p = land.value, land.p
    view = masonry.view_of(land, pitch=0.10, turn=_TURN)
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
    glass = torch.lerp(dark * land.air.to(dark)[:, :, 0, 0], lamp, night)
    return _Church(
        p=p, view=view, a=a, b=b, rise=0.42 + 0.18 * p["gable"], nave=nave, tower=tower,
        top=-0.22 - 0.14 * p["tower_height"], stone=land.lit(rgb(walls)),
        roof=land.lit(rgb(palette(value["roof_colour"], _ROOF))), glass=rgb(glass),
    )  # fmt: skip


CHURCHES = Renderer(
    name="churches_mini",
    version=1,
    shares=_LABELS,
    mask_classes=MASK_CLASSES,
    draw=_draw,
    correlated=_correlated,
    degrees={"angle": math.degrees(_TURN)},
)
