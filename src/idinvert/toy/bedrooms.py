"""Procedural bedrooms: antialiased images and masks from exact attribute labels.

A room in one-point perspective (see `bedroom_parts`); all objects are boxes or hang on the back
wall.
"""

import torch
from torch import Tensor

from idinvert.toy import bedroom_parts as parts
from idinvert.toy.bedroom_parts import BACK, CEILING, FLOOR, HALF, MASK_CLASSES, Room, Scene
from idinvert.toy.drawing import Canvas, grid, palette, rgb, smoothstep
from idinvert.toy.renderer import Columns, Renderer

_LABELS: dict[str, float | None] = {
    "lighting": None,  # night to bright day
    "wood": None,  # painted furniture and carpet to wooden furniture, planks and panels
    "view": None,  # camera at the left to at the right
    "camera": None,  # low to high
    "mirrored": 0.5,  # window at the right instead of at the left
    "bed_place": None,  # towards the window to away from it
    "bed_width": None,
    "bed_colour": None,  # along a palette of seven colours
    "stripes": 0.4,  # on the blanket
    "headboard": None,  # low to high
    "wall": None,  # along a palette of six colours
    "window": 0.75,
    "curtains": None,  # drawn aside to nearly closed
    "curtain_colour": None,  # along a palette of five colours
    "lamp": 0.5,  # on the nightstand, lit
    "rug": 0.5,
    "rug_colour": None,  # along a palette of five colours
    "picture": 0.5,  # over the bed
}
"""Labels: None for continuous ones; for binary ones, the probability of 1."""

_ZOOM = 1.12  # factor by which the camera is closer than needed to show the whole room
_WALL = (
    (0.52, 0.62, 0.72),
    (0.66, 0.76, 0.68),
    (0.92, 0.90, 0.84),
    (0.94, 0.82, 0.62),
    (0.88, 0.68, 0.62),
    (0.66, 0.58, 0.72),
)
_BED = (
    (0.16, 0.24, 0.46),
    (0.20, 0.52, 0.62),
    (0.40, 0.58, 0.34),
    (0.92, 0.92, 0.90),
    (0.92, 0.74, 0.32),
    (0.80, 0.28, 0.26),
    (0.48, 0.24, 0.44),
)
_CLOTH = (
    (0.22, 0.32, 0.52),
    (0.36, 0.60, 0.56),
    (0.92, 0.88, 0.78),
    (0.86, 0.56, 0.30),
    (0.60, 0.20, 0.26),
)
_NIGHT, _DAY = (0.40, 0.41, 0.50), (1.08, 1.06, 1.03)
_PAINT = (0.88, 0.88, 0.87)
_TIMBER = (0.52, 0.31, 0.16)
_CARPET = (0.66, 0.66, 0.68)


def _draw(value: Columns, p: Columns, size: int) -> tuple[Tensor, Tensor]:
    """Draws one block; see `Renderer.draw`."""
    x, y = grid(size, device=p["view"].device)
    x = torch.where(p["mirrored"] > 0.5, -x, x)  # [N, 1, S]
    room = Room(
        x=x / _ZOOM - 0.32 * p["view"],
        y=y / _ZOOM + 0.32 + 0.12 * p["camera"],
        eye_x=0.70 * p["view"],
        eye_y=-0.72 - 0.24 * p["camera"],
    )
    bright = smoothstep(value["lighting"], -1.0, 1.0)[:, None]
    wooden = ((value["wood"] + 1.0) * 0.5)[:, None]
    night, day, paint, timber = (wooden.new_tensor(c) for c in (_NIGHT, _DAY, _PAINT, _TIMBER))
    scene = Scene(
        p=p,
        room=room,
        air=rgb(torch.lerp(night, day, bright)),
        timber=rgb(torch.lerp(paint, timber, wooden)),
        bed_x=0.12 + 0.36 * p["bed_place"],
        bed_half=0.66 + 0.14 * p["bed_width"],
    )
    wall = rgb(palette(value["wall"], _WALL))
    background = scene.lit(wall).expand(-1, -1, size, size)
    canvas = Canvas(background=background, parts=MASK_CLASSES, zoom=_ZOOM)
    cloth = rgb(palette(value["curtain_colour"], _CLOTH))
    rug = rgb(palette(value["rug_colour"], _CLOTH))
    _shell(canvas, scene, wall=wall, wooden=rgb(wooden.expand(-1, 3)))
    _window(canvas, scene, cloth=cloth)
    _picture(canvas, scene, colour=rug)
    _rug(canvas, scene, colour=rug)
    parts.headboard(canvas, scene)
    parts.nightstand(canvas, scene)
    parts.bed(canvas, scene, colour=rgb(palette(value["bed_colour"], _BED)))
    parts.glow(canvas, scene)
    return canvas.finish()


def _shell(canvas: Canvas, scene: Scene, *, wall: Tensor, wooden: Tensor) -> None:
    """Draws side walls, panels, floor and ceiling."""
    room = scene.room
    amount = (scene.p["wood"] + 1.0) * 0.5
    panel_top = FLOOR - 0.95 * amount  # Y of the panels' upper edge
    left, right = room.across(-HALF, BACK), room.across(HALF, BACK)
    back = room.panel(canvas, (-HALF, HALF), (panel_top, FLOOR), BACK)
    boards = 1.0 + 0.07 * torch.sin(room.x * 48.0)
    canvas.paint(scene.lit(scene.timber, 0.94 * boards), back)
    for x, shade in ((-HALF, 0.80), (HALF, 0.90)):
        beyond = left - room.x if x < 0 else room.x - right
        canvas.paint(scene.lit(wall, shade), canvas.cover(-beyond).expand_as(back))
        area = room.flank(canvas, x, (panel_top, FLOOR), (0.3, BACK))
        canvas.paint(scene.lit(scene.timber, 0.92 * shade), area)

    carpet, planks = scene.plain(*_CARPET), scene.plain(0.66, 0.42, 0.22)
    floor = torch.lerp(carpet, planks, wooden)
    seams = 1.0 + 0.10 * amount * torch.sin(room.floor_x(FLOOR) * 26.0)
    area = room.level(canvas, (-HALF, HALF), FLOOR, (0.3, BACK))
    canvas.paint(scene.lit(floor, seams), area, "floor")
    ceiling = room.level(canvas, (-HALF, HALF), CEILING, (0.3, BACK))
    canvas.paint(scene.lit(scene.plain(0.95, 0.95, 0.94)), ceiling, "ceiling")

    # The corners are darker.
    edge_x = torch.minimum((room.x - left).abs(), (room.x - right).abs())
    edge_y = torch.minimum(
        (room.y - room.down(FLOOR, BACK)).abs(), (room.y - room.down(CEILING, BACK)).abs()
    )
    canvas.shade(
        (1.0 - 0.20 * torch.exp(-edge_x / 0.07)) * (1.0 - 0.16 * torch.exp(-edge_y / 0.06))
    )


def _window(canvas: Canvas, scene: Scene, *, cloth: Tensor) -> None:
    """Draws a window with a cross bar in the back wall, and its curtains."""
    room, p = scene.room, scene.p
    there = p["window"]
    middle, half, top, bottom = -1.12, 0.40, -1.25, 0.05
    frame = room.panel(
        canvas, (middle - half - 0.07, middle + half + 0.07), (top - 0.07, bottom + 0.07), BACK
    )
    canvas.paint(scene.lit(scene.timber, 1.05), frame * there, "window")
    pane = room.panel(canvas, (middle - half, middle + half), (top, bottom), BACK)
    day = smoothstep(p["lighting"], -0.8, 0.6)[:, None]
    up = ((room.down(bottom, BACK) - room.y) / 0.6).clamp(0.0, 1.0)[:, None]
    outside = torch.lerp(
        torch.lerp(scene.plain(0.12, 0.16, 0.28), scene.plain(0.05, 0.07, 0.18), up),
        torch.lerp(scene.plain(0.92, 0.97, 1.0), scene.plain(0.50, 0.75, 0.98), up),
        day,
    )
    canvas.paint(outside, pane * there, "window")
    bar = torch.maximum(
        room.panel(canvas, (middle - 0.03, middle + 0.03), (top, bottom), BACK),
        room.panel(canvas, (middle - half, middle + half), (-0.66, -0.60), BACK),
    )
    canvas.paint(scene.lit(scene.timber), bar * there)

    inner = half * (0.52 - 0.38 * p["curtains"])  # half width left open
    fold = 1.0 + 0.14 * torch.sin(room.x * 70.0)
    for ends in ((middle - half - 0.2, middle - inner), (middle + inner, middle + half + 0.2)):
        strip = room.panel(canvas, ends, (top - 0.14, bottom + 0.30), BACK - 0.05)
        canvas.paint(scene.lit(cloth, fold), strip * there, "curtain")


def _picture(canvas: Canvas, scene: Scene, *, colour: Tensor) -> None:
    """Draws a framed landscape over the bed."""
    room, x, there = scene.room, scene.bed_x, scene.p["picture"]
    frame = room.panel(canvas, (x - 0.44, x + 0.44), (-1.34, -0.66), BACK)
    canvas.paint(scene.lit(scene.plain(0.24, 0.18, 0.14)), frame * there, "picture")
    inside = room.panel(canvas, (x - 0.36, x + 0.36), (-1.26, -0.74), BACK) * there
    canvas.paint(scene.lit(scene.plain(0.94, 0.93, 0.88)), inside)
    hill = canvas.cover(
        room.down(-0.98, BACK) + 0.05 * torch.sin((room.x - room.across(x, BACK)) * 16.0) - room.y
    )
    canvas.paint(scene.lit(colour), inside * hill)


def _rug(canvas: Canvas, scene: Scene, *, colour: Tensor) -> None:
    """Draws a rug with a border, which extends beyond the bed on all sides."""
    room, x, half = scene.room, scene.bed_x, scene.bed_half
    rug = room.level(canvas, (x - half - 0.48, x + half + 0.48), FLOOR, (1.35, 2.72))
    canvas.paint(scene.lit(colour * 0.7), rug * scene.p["rug"], "rug")
    inner = room.level(canvas, (x - half - 0.38, x + half + 0.38), FLOOR, (1.40, 2.60))
    canvas.paint(scene.lit(colour), inner * scene.p["rug"], "rug")
    shadow = room.level(
        canvas, (x - half - 0.14, x + half + 0.14), FLOOR, (parts.FOOT - 0.08, BACK)
    )
    canvas.shade(1.0 - 0.32 * shadow)


BEDROOMS = Renderer(
    name="bedrooms_mini",
    version=1,
    shares=_LABELS,
    mask_classes=MASK_CLASSES,
    draw=_draw,
)
