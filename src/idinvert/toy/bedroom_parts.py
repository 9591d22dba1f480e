"""The geometry of a procedural bedroom in one-point perspective, and its furniture.

World: X to the right, Y down (the floor is at 1), Z away from the camera. A point appears at
`x = vanish_x + F (X - eye_x) / Z`, `y = vanish_y + F (Y - eye_y) / Z`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy.drawing import Canvas

MASK_CLASSES = (
    "wall", "ceiling", "floor", "rug", "bed", "bedding", "pillow", "nightstand", "window",
    "curtain", "picture", "lamp",
)  # fmt: skip

_TOP = 0.50  # Y of the mattress
FOOT = 1.62  # Z of the bed's near end
_STAND = 0.42  # Y of the nightstand's top

FOCUS = 1.35  # F
BACK = 3.0  # Z of the back wall
HALF = 1.75  # X of the side walls
FLOOR = 1.0
CEILING = -1.75

Span = tuple[Tensor | float, Tensor | float]


@dataclass(frozen=True)
class Room:
    """The camera.

    Attributes:
        x: Relative to the vanishing point, float32 `[N, 1, S]`.
        y: Relative to the vanishing point, `[N, S, 1]`.
        eye_x, eye_y: Position of the camera `[N, 1, 1]`.
    """

    x: Tensor
    y: Tensor
    eye_x: Tensor
    eye_y: Tensor

    def across(self, x: Tensor | float, z: Tensor | float) -> Tensor:
        """Returns the image coordinate of X at depth Z, relative to the vanishing point."""
        return (x - self.eye_x) * (FOCUS / z)

    def down(self, y: Tensor | float, z: Tensor | float) -> Tensor:
        """Returns the image coordinate of Y at depth Z, relative to the vanishing point."""
        return (y - self.eye_y) * (FOCUS / z)

    def panel(self, canvas: Canvas, x: Span, y: Span, z: Tensor | float) -> Tensor:
        """Returns the coverage of an upright rectangle that faces the camera."""
        wide = canvas.cover(self.across(x[0], z) - self.x) * canvas.cover(
            self.x - self.across(x[1], z)
        )
        high = canvas.cover(self.down(y[0], z) - self.y) * canvas.cover(self.y - self.down(y[1], z))
        return wide * high

    def level(self, canvas: Canvas, x: Span, y: Tensor | float, z: Span) -> Tensor:
        """Returns the coverage of a horizontal rectangle from depth z[0] (near) to z[1] (far)."""
        ends = (x[0] - self.eye_x, x[1] - self.eye_x)
        return _receding(canvas, y - self.eye_y, ends, z, along=self.y, beside=self.x)

    def flank(self, canvas: Canvas, x: Tensor | float, y: Span, z: Span) -> Tensor:
        """Returns the coverage of an upright rectangle along the line of sight, near to far."""
        reach = x - self.eye_x
        reach = torch.where(reach.abs() < 1e-3, torch.full_like(reach, 1e-3), reach)
        ends = (y[0] - self.eye_y, y[1] - self.eye_y)
        return _receding(canvas, reach, ends, z, along=self.x, beside=self.y)

    def floor_z(self, y: float) -> Tensor:
        """Returns Z on the plane at height `y`, `[N, S, 1]`, at most twice the back wall's."""
        return (FOCUS * (y - self.eye_y) / self.y.clamp(min=1e-3)).clamp(max=2.0 * BACK)

    def floor_x(self, y: float) -> Tensor:
        """Returns X on the plane at height `y`, `[N, S, S]`."""
        return self.eye_x + self.x * self.floor_z(y) / FOCUS


def _receding(
    canvas: Canvas,
    away: Tensor,
    ends: tuple[Tensor, Tensor],
    z: Span,
    *,
    along: Tensor,
    beside: Tensor,
) -> Tensor:
    """Returns the coverage of a rectangle that recedes from the eye, at distance `away` from it."""
    far, near = away * (FOCUS / z[1]), away * (FOCUS / z[0])
    low, high = torch.minimum(far, near), torch.maximum(far, near)
    area = canvas.cover(low - along) * canvas.cover(along - high)
    sides: Tensor | float = 1.0
    for end, sign in zip(ends, (1.0, -1.0), strict=True):
        slope = end / away
        distance = sign * (slope * along - beside) * (slope * slope + 1.0).rsqrt()
        sides = sides * canvas.cover(distance)
    return area * sides


@dataclass(frozen=True)
class Scene:
    """Values shared by all parts of the room.

    Attributes:
        p: Labels by name `[N, 1, 1]`.
        room: The camera.
        air: Colour of the light on everything, about 1, `[N, 3, 1, 1]`.
        timber: Colour of the furniture, RGB `[N, 3, 1, 1]`.
        bed_x, bed_half: Centre and half width of the bed, X, `[N, 1, 1]`.
    """

    p: dict[str, Tensor]
    room: Room
    air: Tensor
    timber: Tensor
    bed_x: Tensor
    bed_half: Tensor

    def lit(self, colour: Tensor, shade: Tensor | float = 1.0) -> Tensor:
        """Returns `colour` `[N, 3, 1, 1]` in the room's light, darkened by `shade` `[N, S, S]`."""
        if isinstance(shade, Tensor):
            shade = shade[:, None]
        return (colour * self.air * shade).clamp(0.0, 1.0)

    def plain(self, red: float, green: float, blue: float) -> Tensor:
        """Returns one colour for all images, `[1, 3, 1, 1]`."""
        return self.air.new_tensor((red, green, blue))[None, :, None, None]


def headboard(canvas: Canvas, scene: Scene) -> None:
    """Draws a headboard at the wall, behind the pillows."""
    room, x, half = scene.room, scene.bed_x, scene.bed_half
    top = _TOP - 0.50 - 0.28 * scene.p["headboard"]
    ends = (x - half - 0.07, x + half + 0.07)
    shadow = room.panel(canvas, (x - half - 0.14, x + half + 0.14), (top - 0.05, FLOOR), BACK)
    canvas.shade(1.0 - 0.16 * shadow)
    board = room.panel(canvas, ends, (top, FLOOR), BACK - 0.06)
    canvas.paint(scene.lit(scene.timber, 0.86), board, "bed")
    rail = room.panel(canvas, ends, (top, top + 0.09), BACK - 0.06)
    canvas.paint(scene.lit(scene.timber, 1.0), rail, "bed")


def nightstand(canvas: Canvas, scene: Scene) -> None:
    """Draws a box with a drawer beside the bed, with a lamp on it."""
    room, p = scene.room, scene.p
    x = scene.bed_x + scene.bed_half + 0.36
    near, half = 2.6, 0.23
    for end in (x - half, x + half):
        side = room.flank(canvas, end, (_STAND, FLOOR), (near, BACK))
        canvas.paint(scene.lit(scene.timber, 0.66), side, "nightstand")
    top = room.level(canvas, (x - half, x + half), _STAND, (near, BACK))
    canvas.paint(scene.lit(scene.timber, 1.08), top, "nightstand")
    front = room.panel(canvas, (x - half, x + half), (_STAND, FLOOR), near)
    canvas.paint(scene.lit(scene.timber, 0.86), front, "nightstand")
    drawer = room.panel(
        canvas, (x - half + 0.05, x + half - 0.05), (_STAND + 0.08, _STAND + 0.26), near
    )
    canvas.paint(scene.lit(scene.timber, 0.70), drawer)

    z, there = 2.8, p["lamp"]
    stem = room.panel(canvas, (x - 0.035, x + 0.035), (_STAND - 0.36, _STAND + 0.05), z)
    canvas.paint(scene.lit(scene.plain(0.34, 0.28, 0.22)), stem * there, "lamp")
    foot = room.panel(canvas, (x - 0.10, x + 0.10), (_STAND, _STAND + 0.05), z)
    canvas.paint(scene.lit(scene.plain(0.34, 0.28, 0.22)), foot * there, "lamp")
    high, low = room.down(_STAND - 0.74, z), room.down(_STAND - 0.32, z)
    t = ((room.y - high) / (low - high)).clamp(0.0, 1.0)
    wide = (0.15 + 0.12 * t) * (FOCUS / z)
    shade = canvas.cover((room.x - room.across(x, z)).abs() - wide)
    shade = shade * canvas.cover(high - room.y) * canvas.cover(room.y - low)
    canvas.paint(scene.plain(1.0, 0.90, 0.62), shade * there, "lamp")


def bed(canvas: Canvas, scene: Scene, *, colour: Tensor) -> None:
    """Draws frame, mattress, pillows, and a blanket that hangs over the sides."""
    room, x, half = scene.room, scene.bed_x, scene.bed_half
    white = scene.plain(0.95, 0.95, 0.96)
    back = BACK - 0.06
    fold = back - 0.62  # Z of the blanket's far edge
    hem = _TOP + 0.28  # Y of its lower edge
    for end, shade in ((x - half, 0.68), (x + half, 0.72)):
        side = room.flank(canvas, end, (_TOP, FLOOR - 0.06), (FOOT, back))
        canvas.paint(scene.lit(scene.timber, shade), side, "bed")
        side = room.flank(canvas, end, (_TOP, hem), (FOOT, fold))
        canvas.paint(scene.lit(colour, shade), side, "bedding")
        side = room.flank(canvas, end, (_TOP, hem - 0.1), (fold, back))
        canvas.paint(scene.lit(white, shade), side, "bedding")
    sheet = room.level(canvas, (x - half, x + half), _TOP, (FOOT, back))
    canvas.paint(scene.lit(white), sheet, "bedding")
    for middle in (-0.5, 0.5):
        _pillow(canvas, scene, x=x + middle * half, half=0.43 * half)

    along = room.floor_z(_TOP)
    bands = scene.p["stripes"] * canvas.cover(-torch.sin(along * 15.0 - 1.0) / 15.0 * 0.7)
    relief = 1.0 + 0.05 * torch.sin(room.floor_x(_TOP) * 7.0 + along * 4.0)
    tinted = torch.lerp(colour, torch.lerp(colour, white, 0.72), bands[:, None])
    blanket = room.level(canvas, (x - half, x + half), _TOP, (FOOT, fold))
    canvas.paint(scene.lit(tinted, relief), blanket, "bedding")
    turned = room.level(canvas, (x - half, x + half), _TOP, (fold - 0.16, fold))
    canvas.paint(scene.lit(torch.lerp(colour, white, 0.55)), turned, "bedding")

    frame = room.panel(canvas, (x - half, x + half), (_TOP, FLOOR - 0.06), FOOT)
    canvas.paint(scene.lit(scene.timber, 0.84), frame, "bed")
    front = room.panel(canvas, (x - half, x + half), (_TOP, hem), FOOT)
    canvas.paint(scene.lit(colour, 0.82), front, "bedding")


def _pillow(canvas: Canvas, scene: Scene, *, x: Tensor, half: Tensor) -> None:
    """Draws a pillow that leans on the headboard."""
    room, z = scene.room, BACK - 0.30
    scale = FOCUS / z
    dx = room.x - room.across(x, z)
    dy = room.y - room.down(_TOP - 0.12, z)
    radius = ((dx / (half * scale)) ** 4 + (dy / (0.19 * scale)) ** 4).sqrt().sqrt()
    area = canvas.cover((radius - 1.0) * 0.09)
    light = 0.98 - 0.16 * (dy / (0.19 * scale)).clamp(-1.0, 1.0)
    canvas.paint(scene.lit(scene.plain(0.97, 0.96, 0.94), light), area, "pillow")


def glow(canvas: Canvas, scene: Scene) -> None:
    """Adds the warm light around the lamp, which is stronger in darker rooms."""
    room, p = scene.room, scene.p
    x = scene.bed_x + scene.bed_half + 0.36
    dx, dy = room.x - room.across(x, 2.8), room.y - room.down(_STAND - 0.5, 2.8)
    near = torch.exp(-(dx * dx + dy * dy) / 0.30)
    strength = p["lamp"] * (0.75 - 0.45 * p["lighting"])
    warm = scene.plain(1.0, 0.72, 0.36)
    canvas.colour = canvas.colour * (1.0 + warm * (strength * near)[:, None])
