"""A room in one-point perspective: planes that face the camera, floors and flanks of boxes.

World: X to the right, Y down (the floor is at 1), Z away from the camera. A point is seen at
`x = vanish_x + F (X - eye_x) / Z`, `y = vanish_y + F (Y - eye_y) / Z`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy.drawing import Canvas

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
        x: float32, from the vanishing point, `[N, 1, S]`.
        y: From the vanishing point, `[N, S, 1]`.
        eye_x, eye_y: Where the camera is `[N, 1, 1]`.
    """

    x: Tensor
    y: Tensor
    eye_x: Tensor
    eye_y: Tensor

    def across(self, x: Tensor | float, z: Tensor | float) -> Tensor:
        """Where X at depth Z is seen, from the vanishing point."""
        return (x - self.eye_x) * (FOCUS / z)

    def down(self, y: Tensor | float, z: Tensor | float) -> Tensor:
        """Where Y at depth Z is seen, from the vanishing point."""
        return (y - self.eye_y) * (FOCUS / z)

    def panel(self, canvas: Canvas, x: Span, y: Span, z: Tensor | float) -> Tensor:
        """Coverage of an upright rectangle that faces the camera."""
        wide = canvas.cover(self.across(x[0], z) - self.x) * canvas.cover(
            self.x - self.across(x[1], z)
        )
        high = canvas.cover(self.down(y[0], z) - self.y) * canvas.cover(self.y - self.down(y[1], z))
        return wide * high

    def level(self, canvas: Canvas, x: Span, y: Tensor | float, z: Span) -> Tensor:
        """Coverage of a lying rectangle, below or above the eye, from near z[0] to far z[1]."""
        height = y - self.eye_y
        far, near = self.down(y, z[1]), self.down(y, z[0])
        low, high = torch.minimum(far, near), torch.maximum(far, near)
        depth = canvas.cover(low - self.y) * canvas.cover(self.y - high)
        sides: Tensor | float = 1.0
        for end, sign in ((x[0], 1.0), (x[1], -1.0)):
            slope = (end - self.eye_x) / height
            distance = sign * (slope * self.y - self.x) * (slope * slope + 1.0).rsqrt()
            sides = sides * canvas.cover(distance)
        return depth * sides

    def flank(self, canvas: Canvas, x: Tensor | float, y: Span, z: Span) -> Tensor:
        """Coverage of an upright rectangle along the line of sight, from near to far."""
        reach = x - self.eye_x
        reach = torch.where(reach.abs() < 1e-3, torch.full_like(reach, 1e-3), reach)
        far, near = reach * (FOCUS / z[1]), reach * (FOCUS / z[0])
        low, high = torch.minimum(far, near), torch.maximum(far, near)
        depth = canvas.cover(low - self.x) * canvas.cover(self.x - high)
        sides: Tensor | float = 1.0
        for end, sign in ((y[0], 1.0), (y[1], -1.0)):
            slope = (end - self.eye_y) / reach
            distance = sign * (slope * self.x - self.y) * (slope * slope + 1.0).rsqrt()
            sides = sides * canvas.cover(distance)
        return depth * sides

    def floor_z(self, y: float) -> Tensor:
        """Z of the points of the plane at height `y`, `[N, S, 1]`; the back wall's beyond it."""
        return (FOCUS * (y - self.eye_y) / self.y.clamp(min=1e-3)).clamp(max=2.0 * BACK)

    def floor_x(self, y: float) -> Tensor:
        """X of the points of the plane at height `y`, `[N, S, S]`."""
        return self.eye_x + self.x * self.floor_z(y) / FOCUS
