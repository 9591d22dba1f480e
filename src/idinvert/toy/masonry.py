"""Upright buildings seen from a corner: two faces of a block, or the surface of a drum.

Blocks are rotated about the vertical by the view's angle; everything on them is drawn in
coordinates of their faces, so that a rotation moves and foreshortens it. If the angle is negative
the view is mirrored: the second face is always on the right.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy.drawing import Canvas
from idinvert.toy.landscape import Landscape

_PERSPECTIVE = 0.55  # factor by which sizes decrease per unit of depth


@dataclass(frozen=True)
class View:
    """The camera in front of a building.

    Attributes:
        x: Relative to the building's centre, mirrored and with converging verticals, `[N, S, S]`.
        y: `[1, S, 1]`.
        horizon: Eye level `[N, 1, 1]`.
        cos, sin: Of the building's rotation, sin >= 0, `[N, 1, 1]`.
        mirror: 1 or -1, `[N, 1, 1]`.
        sun_x, sun_z: Direction to the sun, in the mirrored view, `[N, 1, 1]`.
        ambient, direct: Ambient light and light from the sun, `[N, 1, 1]`.
    """

    x: Tensor
    y: Tensor
    horizon: Tensor
    cos: Tensor
    sin: Tensor
    mirror: Tensor
    sun_x: Tensor
    sun_z: Tensor
    ambient: Tensor
    direct: Tensor


def view_of(land: Landscape, *, pitch: Tensor | float, turn: float) -> View:
    """Returns the view of a building.

    Args:
        land: Horizon, light and foot; its label `angle`, -1 to 1, rotates the building.
        pitch: Convergence of verticals upwards, per unit.
        turn: Radians at angle 1.
    """
    angle = land.p["angle"]
    mirror = torch.where(angle < 0, -1.0, 1.0)
    turned = angle.abs() * turn
    sun = mirror * land.p["sun_side"] * 1.1  # radians from straight behind the camera
    x = (land.x - land.foot) * (1.0 + pitch * (land.horizon - land.y))
    return View(
        x=mirror * x,
        y=land.y,
        horizon=land.horizon,
        cos=turned.cos(),
        sin=turned.sin(),
        mirror=mirror,
        sun_x=sun.sin(),
        sun_z=sun.cos(),
        ambient=0.74 - 0.08 * land.sun,
        direct=0.14 + 0.32 * land.sun,
    )


@dataclass(frozen=True)
class Block:
    """One block or drum, in coordinates of its surface.

    Attributes:
        x: Relative to its centre, in the image, `[N, S, S]`.
        y: Height in the image without perspective, `[N, S, S]`.
        half: Half its width in the image `[N, 1, 1]`.
        edge: x of the edge between the two faces `[N, 1, 1]`.
        front: Fraction of a sample that belongs to the first face `[N, S, S]`; for a drum, to the
            first repeat.
        across: Along the face from its centre, in units of the building, `[N, S, S]`.
        squeeze: Units of the image per unit of `across`.
        lit: Brightness `[N, S, S]`.
    """

    x: Tensor
    y: Tensor
    half: Tensor
    edge: Tensor
    front: Tensor
    across: Tensor
    squeeze: Tensor
    lit: Tensor

    def between(
        self,
        canvas: Canvas,
        top: Tensor | float,
        bottom: Tensor | float,
        *,
        grow: Tensor | float = 0.0,
    ) -> Tensor:
        """Returns the coverage from `top` to `bottom` (y), wider by `grow` on both sides."""
        wide = canvas.cover(self.x.abs() - self.half - grow)
        return wide * canvas.cover(top - self.y) * canvas.cover(self.y - bottom)

    def shaded(self, colour: Tensor) -> Tensor:
        """Returns `colour` `[N, 3, 1, 1]` under the light, `[N, 3, S, S]`."""
        return (colour * self.lit[:, None]).clamp(0.0, 1.0)


def block(canvas: Canvas, view: View, *, x: Tensor | float, a: Tensor, b: Tensor) -> Block:
    """Returns a block centred at `x`, whose first face is 2a wide and whose second is 2b wide."""
    here = view.x - x
    half = a * view.cos + b * view.sin
    edge = a * view.cos - b * view.sin
    beyond = here - edge
    front = canvas.cover(beyond)
    on_front = beyond < 0
    slope = torch.where(on_front, -view.sin / view.cos, view.cos / view.sin.clamp(min=0.02))
    depth = (here.minimum(half).maximum(-half) - edge) * slope
    squeeze = torch.where(on_front, view.cos, view.sin.clamp(min=0.02))
    across = beyond / squeeze + torch.where(on_front, a, -b)
    straight = (-view.sin * view.sun_x + view.cos * view.sun_z).clamp(min=0.0)
    second = (view.cos * view.sun_x + view.sin * view.sun_z).clamp(min=0.0)
    lit = view.ambient + view.direct * (second + (straight - second) * front)
    return Block(
        x=here, y=_flat(view, depth), half=half, edge=edge, front=front,
        across=across, squeeze=squeeze, lit=lit,
    )  # fmt: skip


def drum(view: View, *, x: Tensor | float, a: Tensor, every: float) -> Block:
    """Returns a drum of radius `a`; `across` repeats every `every` radians, rotated by the view."""
    here = view.x - x
    t = (here / a).clamp(-0.999, 0.999)
    z = (1.0 - t * t).sqrt()
    depth = a * (1.0 - z)
    # The rotation moves the drum's surface to the left, like the first face of a block.
    longitude = torch.asin(t) + torch.atan2(view.sin, view.cos)
    turns = (longitude / every).round()
    across = (longitude - every * turns) * a
    lit = view.ambient + view.direct * (t * view.sun_x + z * view.sun_z).clamp(min=0.0)
    return Block(
        x=here, y=_flat(view, depth), half=a, edge=torch.zeros_like(a), front=(turns == 0).to(t),
        across=across, squeeze=z.clamp(min=0.1), lit=lit,
    )  # fmt: skip


def either(first: Block, second: Block, chosen: Tensor) -> Block:
    """Returns the second block where `chosen` `[N, 1, 1]` is 1, the first where it is 0."""
    pick = chosen > 0.5

    def of(name: str) -> Tensor:
        return torch.where(pick, getattr(second, name), getattr(first, name))

    return Block(**{name: of(name) for name in Block.__dataclass_fields__})


def _flat(view: View, depth: Tensor) -> Tensor:
    """Returns y without the perspective of `depth`."""
    return view.horizon + (view.y - view.horizon) * (1.0 + _PERSPECTIVE * depth)


def spire(
    canvas: Canvas, body: Block, *, bottom: Tensor, height: Tensor, overhang: float
) -> Tensor:
    """Returns the coverage of a pyramid or cone on a block, `height` high above `bottom`."""
    up = (bottom - body.y) / height.clamp(min=1e-3)  # 0 at the eaves, 1 at the top
    narrow = (body.half + overhang) * (1.0 - up)
    steep = (body.half / height.clamp(min=0.05)).square().add(1.0).rsqrt()
    side = canvas.cover((body.x.abs() - narrow) * steep)
    return side * canvas.cover(body.y - bottom) * (height > 1e-3)


def spire_light(canvas: Canvas, body: Block, *, bottom: Tensor, height: Tensor) -> Tensor:
    """Returns the fraction of each sample of a spire that is on its first face `[N, S, S]`."""
    left = (1.0 - (bottom - body.y) / height.clamp(min=1e-3)).clamp(0.0, 1.0)
    return canvas.cover(body.x - body.edge * left)


def arch(
    canvas: Canvas,
    body: Block,
    *,
    across: Tensor,
    y: Tensor,
    half: Tensor | float,
    height: Tensor | float,
) -> Tensor:
    """Returns the coverage of an arch with its foot at y = 0 and its round top above `height`."""
    up = (-y - height).clamp(min=0.0)
    distance = (across * across + up * up).sqrt() - half
    return canvas.cover(distance * body.squeeze) * canvas.cover(y)
