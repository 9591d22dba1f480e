"""What towers and churches stand in: sky, clouds, hills, ground and trees.

Geometry in units of half the picture: x to the right, y down, both in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy.drawing import Canvas, smoothstep

LEAVES = ((0.20, 0.42, 0.18), (0.36, 0.52, 0.20))


@dataclass(frozen=True)
class Weather:
    """Where the horizon is and what light falls on the land.

    Attributes:
        x: float32 `[1, 1, S]`.
        y: float32 `[1, S, 1]`.
        horizon: y of the horizon `[N, 1, 1]`.
        light: From the left, -1, to the right, 1, `[N, 1, 1]`.
        sun: How much of the light comes straight from the sun, 0 to 1, `[N, 1, 1]`.
        air: Colour of the light on everything, about 1, `[N, 3, 1, 1]`.
    """

    x: Tensor
    y: Tensor
    horizon: Tensor
    light: Tensor
    sun: Tensor
    air: Tensor

    def lit(self, colour: Tensor) -> Tensor:
        """`colour` `[N, 3, ...]` in the light of the day."""
        return (colour * self.air).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Row:
    """A row of trees.

    Attributes:
        base: y of the trunks' feet.
        spacing: From tree to tree.
        size: Radius of a full crown.
        phase: Tells rows apart.
        gap: Half width kept free of trees around the building.
    """

    base: float
    spacing: float
    size: float
    phase: float
    gap: float


def sky(weather: Weather, *, top: Tensor, bottom: Tensor) -> Tensor:
    """Colour of the sky `[N, 3, S, S]` from `top` to `bottom` `[N, 3, 1, 1]`, with the sun."""
    up = ((weather.horizon - weather.y) / 1.4).clamp(0.0, 1.0).sqrt()  # [N, S, 1]
    colour = torch.lerp(bottom, top, up[:, None])
    x = weather.x - 0.9 * weather.light
    distance = (x * x + (weather.y + 0.72) ** 2).sqrt()  # [N, S, S]
    glow = weather.sun * (
        0.5 * torch.exp(-distance / 0.35) + 1.2 * smoothstep(-distance, -0.2, -0.1)
    )
    warm = top.new_tensor((1.0, 0.96, 0.80))[:, None, None]
    return torch.lerp(colour, warm, glow.clamp(max=1.0)[:, None])


def _clouds(
    canvas: Canvas, weather: Weather, *, amount: Tensor, shift: Tensor, colour: Tensor, part: int
) -> None:
    """Clouds that grow with `amount` (-1 none, 1 overcast) and drift with `shift`."""
    far = 1.0 / (0.6 + (weather.horizon - weather.y).clamp(min=0.0))  # [N, S, 1]
    u = 1.35 * weather.x * far + 2.4 * shift
    v = 3.0 * far
    field = torch.sin(1.9 * u + 1.1 * torch.sin(1.6 * v + 0.5)) + torch.sin(2.7 * v - 1.1 * u + 2.0)
    field = field + 0.45 * torch.sin(5.1 * u + 2.2 * torch.sin(2.9 * v + shift))
    field = field + 0.25 * torch.sin(8.3 * u - 7.0 * v) * torch.sin(6.1 * v + 3.0 * u)
    edge = 1.75 * (0.55 - amount) - 0.55
    thick = ((field - edge) / 0.9).clamp(0.0, 1.0)  # [N, S, S]
    thick = thick * canvas.cover(weather.y - weather.horizon)
    # Bellies of thick clouds are darker, less so in the sun.
    belly = 1.0 - (0.10 + 0.10 * amount.clamp(min=0.0)) * torch.sin(3.0 * v + 1.2 * u) * thick
    canvas.paint(colour * belly[:, None], smoothstep(thick, 0.0, 0.55) * 0.95, part=part)


def _hills(
    canvas: Canvas, weather: Weather, *, shift: Tensor, height: Tensor, colour: Tensor, part: int
) -> None:
    """A wavy ridge behind everything, `height` above the horizon."""
    x = weather.x + 0.9 * shift
    wave = 0.55 + 0.3 * torch.sin(2.6 * x + 0.6) + 0.15 * torch.sin(6.1 * x)  # [N, 1, S]
    ridge = canvas.cover(weather.horizon - height * wave - weather.y)
    canvas.paint(colour, ridge, part=part)


def _ground(
    canvas: Canvas, weather: Weather, *, colour: Tensor, path: Tensor, foot: Tensor, part: int
) -> None:
    """The ground from the horizon down, with a path to `foot` `[N, 1, 1]` (x)."""
    below = (weather.y - weather.horizon).clamp(min=0.0)  # [N, S, 1]
    shade = 0.86 + 0.3 * below
    canvas.paint(
        (colour * shade[:, None]).clamp(0.0, 1.0),
        canvas.cover(weather.horizon - weather.y),
        part=part,
    )
    x = weather.x - foot * (1.0 - below)
    canvas.paint(path, canvas.cover(x.abs() - 0.06 - 0.3 * below * below) * (below > 0.16))


def cast_shadow(
    canvas: Canvas, weather: Weather, *, foot: Tensor, base: float, half: Tensor
) -> None:
    """The building's shadow on the ground, away from the sun."""
    down = weather.y - base
    x = weather.x - foot + weather.light * (0.9 + 1.4 * down.abs())
    area = canvas.ellipse(x, down, half + 0.9 * weather.light.abs(), 0.10)
    canvas.shade(1.0 - 0.42 * weather.sun * area)


def _trees(
    canvas: Canvas,
    weather: Weather,
    *,
    row: Row,
    amount: Tensor,
    shift: Tensor,
    foot: Tensor,
    crown: Tensor,
    part: int,
) -> None:
    """A row of round trees, more and larger ones with `amount` (-1 none, 1 a grove).

    Args:
        canvas: To paint on.
        weather: The light.
        row: Where the trees stand.
        amount: `[N, 1, 1]`.
        shift: Moves the row along, `[N, 1, 1]`.
        foot: x of the building `[N, 1, 1]`.
        crown: Colour of the leaves `[N, 3, 1, 1]`.
        part: Class of trees.
    """
    place = weather.x / row.spacing + 0.6 * shift + row.phase  # [N, 1, S]
    number = place.floor()
    chance = torch.sin(number * 12.9898 + row.phase * 7.0) * 43.7585
    chance = chance - chance.floor()  # [0, 1), one a tree
    x = (place - number - 0.5 - 0.3 * (chance - 0.5)) * row.spacing
    centre = weather.x - x - foot  # of the tree, from the building
    room = smoothstep(centre.abs(), row.gap, row.gap + 0.12)
    grown = 0.95 * (amount + 0.95) - 0.9 * chance
    radius = row.size * (0.75 + 0.4 * chance) * grown.clamp(0.0, 1.0).sqrt() * room  # [N, 1, S]
    radius = radius.minimum(0.62 * torch.full_like(radius, row.spacing))
    y = weather.y - (row.base - 1.35 * radius)
    trunk = (
        canvas.cover(x.abs() - 0.16 * radius)
        * canvas.cover(-y)
        * canvas.cover(weather.y - row.base)
    )
    bark = crown.new_tensor((0.34, 0.24, 0.17))[:, None, None]
    canvas.paint(weather.lit(bark), trunk * (radius > 0.02), part=part)
    distance = (x * x + 0.75 * y * y).sqrt() - radius
    area = canvas.cover(distance + 0.012 * torch.sin(34.0 * x + 20.0 * y)) * (radius > 0.02)
    side = (weather.light * x - 0.8 * y) / (radius + 0.02)
    leaves = crown * (0.78 + 0.3 * side.clamp(-1.0, 1.0))[:, None]
    canvas.paint(weather.lit(leaves), area, part=part)


def behind(
    canvas: Canvas,
    weather: Weather,
    *,
    p: dict[str, Tensor],
    foot: Tensor,
    ridge: Tensor,
    row: Row,
    ground: Tensor,
    haze: Tensor,
    part: Mapping[str, int],
) -> None:
    """Everything behind a building but the sky: clouds, hills, ground, trees.

    Args:
        canvas: To paint on.
        weather: The light.
        p: Labels `[N, 1, 1]`; of them `clouds`, `vegetation`, `land`.
        foot: x of the building `[N, 1, 1]`.
        ridge: Height of the hills `[N, 1, 1]`.
        row: The trees.
        ground: Colour of the ground `[N, 3, 1, 1]`.
        haze: Colour of the sky at the horizon `[N, 3, 1, 1]`.
        part: Classes by name.
    """
    white, green = (
        ground.new_tensor(c)[:, None, None] for c in ((0.97, 0.97, 0.99), (0.2, 0.4, 0.2))
    )
    colour = weather.lit(torch.lerp(haze, white, 0.75))
    _clouds(
        canvas, weather, amount=p["clouds"], shift=p["land"], colour=colour, part=part["clouds"]
    )
    colour = weather.lit(torch.lerp(ground * 0.7, haze, 0.35))
    _hills(canvas, weather, shift=p["land"], height=ridge, colour=colour, part=part["hills"])
    path = weather.lit(torch.lerp(ground, haze, 0.45))
    _ground(canvas, weather, colour=weather.lit(ground), path=path, foot=foot, part=part["ground"])
    _trees(
        canvas, weather, row=row, amount=p["vegetation"], shift=-p["land"], foot=foot,
        crown=torch.lerp(green, haze, 0.15), part=part["vegetation"],
    )  # fmt: skip


def in_front(
    canvas: Canvas,
    weather: Weather,
    *,
    p: dict[str, Tensor],
    foot: Tensor,
    row: Row,
    leaves: Tensor,
    part: Mapping[str, int],
) -> None:
    """The trees before a building; arguments as of `behind`, `leaves` RGB `[N, 3, 1, 1]`."""
    _trees(
        canvas, weather, row=row, amount=p["vegetation"], shift=p["land"], foot=foot, crown=leaves,
        part=part["vegetation"],
    )  # fmt: skip
