"""The surroundings of towers and churches: sky, clouds, hills, ground and trees.

Geometry in units of half the image: x to the right, y down, both in [-1, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy.drawing import Canvas, Colour, grid, palette, rgb, smoothstep
from idinvert.toy.renderer import Columns

_LEAVES = ((0.20, 0.42, 0.18), (0.36, 0.52, 0.20))


@dataclass(frozen=True)
class Row:
    """A row of trees.

    Attributes:
        base: y of the trunks' feet.
        spacing: Distance between trees.
        size: Radius of a full crown.
        phase: Offset that distinguishes rows.
        gap: Half width of the area around the building that is kept free of trees.
    """

    base: float
    spacing: float
    size: float
    phase: float
    gap: float


@dataclass(frozen=True)
class Colours:
    """Palettes of a domain: of the sky at the top and at the horizon, and of the ground."""

    sky: tuple[Colour, ...]
    horizon: tuple[Colour, ...]
    ground: tuple[Colour, ...]


@dataclass(frozen=True)
class Landscape:
    """Horizon and light of a landscape.

    Attributes:
        value: Labels by name `[N]`, float64.
        p: The same, `[N, 1, 1]`, float32; `clouds`, `vegetation`, `land`, `sun_side` are used.
        x: float32 `[1, 1, S]`.
        y: float32 `[1, S, 1]`.
        horizon: y of the horizon `[N, 1, 1]`.
        foot: x of the building `[N, 1, 1]`.
        sun: Fraction of the light that comes directly from the sun, 0 to 1, `[N, 1, 1]`.
        air: Colour of the light on everything, about 1, `[N, 3, 1, 1]`.
    """

    value: Columns
    p: Columns
    x: Tensor
    y: Tensor
    horizon: Tensor
    foot: Tensor
    sun: Tensor
    air: Tensor

    @classmethod
    def of(
        cls,
        value: Columns,
        p: Columns,
        size: int,
        *,
        horizon: Tensor,
        foot: Tensor,
        sun: Tensor,
        bright: Tensor,
        air: tuple[Colour, Colour],
    ) -> "Landscape":
        """Builds the landscape of an image with `size` samples per side.

        Args:
            value, p, horizon, foot, sun: See the attributes.
            size: S.
            bright: `[N]`, from 0, the first colour of the light, to 1, the second.
            air: Both colours.
        """
        x, y = grid(size, device=horizon.device)
        low, high = (bright.new_tensor(colour) for colour in air)
        light = rgb(torch.lerp(low, high, bright[:, None]))
        return cls(value, p, x=x, y=y, horizon=horizon, foot=foot, sun=sun, air=light)

    def lit(self, colour: Tensor) -> Tensor:
        """Returns `colour` `[N, 3, ...]` in the light of the day."""
        return (colour * self.air).clamp(0.0, 1.0)

    def behind(
        self, parts: tuple[str, ...], colours: Colours, *, ridge: Tensor, row: Row
    ) -> Canvas:
        """Returns a canvas with everything behind the building.

        Args:
            parts: Names of the mask's classes.
            colours: Palettes of sky and ground.
            ridge: Height of the hills `[N, 1, 1]`.
            row: The trees.
        """
        haze = rgb(palette(self.value["sky"], colours.horizon))
        ground = rgb(palette(self.value["ground"], colours.ground))
        white, green = (
            ground.new_tensor(c)[:, None, None] for c in ((0.97, 0.97, 0.99), (0.2, 0.4, 0.2))
        )
        canvas = Canvas(background=self._sky(colours.sky, haze), parts=parts)
        self._clouds(canvas, self.lit(torch.lerp(haze, white, 0.75)))
        self._hills(canvas, ridge, self.lit(torch.lerp(ground * 0.7, haze, 0.35)))
        self._ground(canvas, self.lit(ground), path=self.lit(torch.lerp(ground, haze, 0.45)))
        crown = torch.lerp(green, haze, 0.15)
        self._trees(canvas, row, shift=-self.p["land"], crown=crown)
        return canvas

    def in_front(self, canvas: Canvas, row: Row) -> None:
        """Draws the trees in front of the building."""
        leaves = rgb(palette(self.value["land"], _LEAVES))
        self._trees(canvas, row, shift=self.p["land"], crown=leaves)

    def cast_shadow(self, canvas: Canvas, *, base: float, half: Tensor) -> None:
        """Draws the building's shadow on the ground, away from the sun."""
        light = self.p["sun_side"]
        down = self.y - base
        x = self.x - self.foot + light * (0.9 + 1.4 * down.abs())
        area = canvas.ellipse(x, down, half + 0.9 * light.abs(), 0.10)
        canvas.shade(1.0 - 0.42 * self.sun * area)

    def _sky(self, top: tuple[Colour, ...], haze: Tensor) -> Tensor:
        """Returns the sky `[N, 3, S, S]`, fading to `haze` `[N, 3, 1, 1]`, with the sun."""
        high, low = self.lit(rgb(palette(self.value["sky"], top))), self.lit(haze)
        up = ((self.horizon - self.y) / 1.4).clamp(0.0, 1.0).sqrt()  # [N, S, 1]
        colour = torch.lerp(low, high, up[:, None])
        x = self.x - 0.9 * self.p["sun_side"]
        distance = (x * x + (self.y + 0.72) ** 2).sqrt()  # [N, S, S]
        glow = self.sun * (
            0.5 * torch.exp(-distance / 0.35) + 1.2 * smoothstep(-distance, -0.2, -0.1)
        )
        warm = high.new_tensor((1.0, 0.96, 0.80))[:, None, None]
        return torch.lerp(colour, warm, glow.clamp(max=1.0)[:, None])

    def _clouds(self, canvas: Canvas, colour: Tensor) -> None:
        """Draws clouds that grow with the label (-1 none, 1 overcast) and drift with `land`."""
        amount, shift = self.p["clouds"], self.p["land"]
        far = 1.0 / (0.6 + (self.horizon - self.y).clamp(min=0.0))  # [N, S, 1]
        u = 1.35 * self.x * far + 2.4 * shift
        v = 3.0 * far
        field = torch.sin(1.9 * u + 1.1 * torch.sin(1.6 * v + 0.5))
        field = field + torch.sin(2.7 * v - 1.1 * u + 2.0)
        field = field + 0.45 * torch.sin(5.1 * u + 2.2 * torch.sin(2.9 * v + shift))
        field = field + 0.25 * torch.sin(8.3 * u - 7.0 * v) * torch.sin(6.1 * v + 3.0 * u)
        edge = 1.75 * (0.55 - amount) - 0.55
        thick = ((field - edge) / 0.9).clamp(0.0, 1.0)  # [N, S, S]
        thick = thick * canvas.cover(self.y - self.horizon)
        # The undersides of thick clouds are darker, less so in the sun.
        belly = 1.0 - (0.10 + 0.10 * amount.clamp(min=0.0)) * torch.sin(3.0 * v + 1.2 * u) * thick
        canvas.paint(colour * belly[:, None], smoothstep(thick, 0.0, 0.55) * 0.95, "clouds")

    def _hills(self, canvas: Canvas, height: Tensor, colour: Tensor) -> None:
        """Draws a wavy ridge behind everything, `height` above the horizon."""
        x = self.x + 0.9 * self.p["land"]
        wave = 0.55 + 0.3 * torch.sin(2.6 * x + 0.6) + 0.15 * torch.sin(6.1 * x)  # [N, 1, S]
        canvas.paint(colour, canvas.cover(self.horizon - height * wave - self.y), "hills")

    def _ground(self, canvas: Canvas, colour: Tensor, *, path: Tensor) -> None:
        """Draws the ground below the horizon, with a path to the building."""
        below = (self.y - self.horizon).clamp(min=0.0)  # [N, S, 1]
        shaded = (colour * (0.86 + 0.3 * below)[:, None]).clamp(0.0, 1.0)
        canvas.paint(shaded, canvas.cover(self.horizon - self.y), "ground")
        x = self.x - self.foot * (1.0 - below)
        canvas.paint(path, canvas.cover(x.abs() - 0.06 - 0.3 * below * below) * (below > 0.16))

    def _trees(self, canvas: Canvas, row: Row, *, shift: Tensor, crown: Tensor) -> None:
        """Draws a row of round trees, more and larger ones with the label (-1 none, 1 a grove).

        Args:
            canvas: Canvas to paint on.
            row: Position of the trees.
            shift: Shift along the row, `[N, 1, 1]`.
            crown: Colour of the leaves `[N, 3, 1, 1]`.
        """
        place = self.x / row.spacing + 0.6 * shift + row.phase  # [N, 1, S]
        number = place.floor()
        chance = torch.sin(number * 12.9898 + row.phase * 7.0) * 43.7585
        chance = chance - chance.floor()  # [0, 1), one per tree
        x = (place - number - 0.5 - 0.3 * (chance - 0.5)) * row.spacing
        centre = self.x - x - self.foot  # of the tree, relative to the building
        room = smoothstep(centre.abs(), row.gap, row.gap + 0.12)
        grown = 0.95 * (self.p["vegetation"] + 0.95) - 0.9 * chance
        radius = row.size * (0.75 + 0.4 * chance) * grown.clamp(0.0, 1.0).sqrt() * room
        radius = radius.minimum(0.62 * torch.full_like(radius, row.spacing))  # [N, 1, S]
        y = self.y - (row.base - 1.35 * radius)
        trunk = canvas.cover(x.abs() - 0.16 * radius) * canvas.cover(-y)
        trunk = trunk * canvas.cover(self.y - row.base)
        bark = crown.new_tensor((0.34, 0.24, 0.17))[:, None, None]
        canvas.paint(self.lit(bark), trunk * (radius > 0.02), "vegetation")
        distance = (x * x + 0.75 * y * y).sqrt() - radius
        area = canvas.cover(distance + 0.012 * torch.sin(34.0 * x + 20.0 * y)) * (radius > 0.02)
        side = (self.p["sun_side"] * x - 0.8 * y) / (radius + 0.02)
        leaves = crown * (0.78 + 0.3 * side.clamp(-1.0, 1.0))[:, None]
        canvas.paint(self.lit(leaves), area, "vegetation")
