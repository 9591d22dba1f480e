"""What adaptive augmentation draws for each image: a map of the plane and a map of colours."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentations:
    """How each of N images is augmented; float64 on the CPU, whatever the images are on.

    Args:
        plane: From a place in the result to the one in the image that it shows, ``[N, 3, 3]``;
            homogeneous (x, y, 1), in pixels from the image's centre, y down.
        resampled: Whether that place lies between pixels, bool ``[N]``.
        colours: From (r, g, b, 1) in [-1, 1] to the result's colours, ``[N, 3, 4]``.
    """

    plane: Tensor
    resampled: Tensor
    colours: Tensor

    def __len__(self) -> int:
        return len(self.plane)

    def split(self, size: int) -> list["Augmentations"]:
        """The augmentations of micro-batches of ``size`` images, in their order."""
        parts = (self.plane.split(size), self.resampled.split(size), self.colours.split(size))
        return [
            Augmentations(plane=plane, resampled=resampled, colours=colours)
            for plane, resampled, colours in zip(*parts, strict=True)
        ]


class Draws:
    """Random numbers for ``count`` images, each with its own coin.

    An image's numbers are there whether or not its coin falls for them, so that what one
    operation draws does not depend on p.
    """

    def __init__(self, count: int, rng: torch.Generator) -> None:
        self.count, self.rng = count, rng

    def coin(self, p: float) -> Tensor:
        """True with probability p, bool ``[N]``."""
        return self.uniform(0, 1) < p

    def uniform(self, low: float, high: float) -> Tensor:
        """U(low, high), ``[N]``."""
        drawn = torch.rand(self.count, generator=self.rng, dtype=torch.float64)
        return low + (high - low) * drawn

    def normal(self, std: float) -> Tensor:
        """N(0, std²), ``[N]``."""
        return std * torch.randn(self.count, generator=self.rng, dtype=torch.float64)

    def integer(self, below: int) -> Tensor:
        """0 to ``below`` - 1, each as likely, ``[N]``."""
        return torch.randint(below, (self.count,), generator=self.rng).double()


def draw_plane(draws: Draws, *, p: float, resolution: int, pipe: str) -> tuple[Tensor, Tensor]:
    """Draws one affine map of the plane for each image.

    Operations, in their order: (b) mirroring, quarter turns, translation by whole pixels; (g)
    scaling, rotation, scaling of one side against the other, rotation again, translation. Each is
    applied with probability p, the rotations together.

    Args:
        draws: Where the numbers come from.
        p: Probability of each operation.
        resolution: Pixels of a side; translations are shares of it.
        pipe: The letters of the groups that take part.

    Returns:
        ``plane`` and ``resampled`` of `Augmentations`.

    Source:
        Karras et al. 2020 (arXiv 2006.06676), Appendix B.
    """
    plane = torch.eye(3, dtype=torch.float64).expand(draws.count, 3, 3)  # image to result
    resampled = torch.zeros(draws.count, dtype=torch.bool)
    if "b" in pipe:
        signs = _if(draws.coin(p), 1 - 2 * draws.integer(2), 1)
        plane = scaling(signs, torch.ones_like(signs)) @ plane
        plane = quarter_turn(_if(draws.coin(p), draws.integer(4), 0)) @ plane
        moved, x, y = draws.coin(p), draws.uniform(-1 / 8, 1 / 8), draws.uniform(-1 / 8, 1 / 8)
        pixels = [_if(moved, (share * resolution).round(), 0) for share in (x, y)]
        plane = translation(*pixels) @ plane
    if "g" in pipe:
        # Two rotations, each so likely that one of them takes place with probability p.
        p_rotation = 1 - math.sqrt(1 - p)
        coins = [draws.coin(share) for share in (p, p_rotation, p, p_rotation, p)]
        sizes = _if(coins[0], 2 ** draws.normal(0.2), 1)
        plane = scaling(sizes, sizes) @ plane
        plane = rotation(_if(coins[1], draws.uniform(-math.pi, math.pi), 0)) @ plane
        ratios = _if(coins[2], 2 ** draws.normal(0.2), 1)
        plane = scaling(ratios, 1 / ratios) @ plane
        plane = rotation(_if(coins[3], draws.uniform(-math.pi, math.pi), 0)) @ plane
        shifts = [_if(coins[4], draws.normal(1 / 8) * resolution, 0) for _ in "xy"]
        plane = translation(*shifts) @ plane
        resampled = torch.stack(coins).any(dim=0)
    return torch.linalg.inv(plane), resampled


def draw_colours(draws: Draws, *, p: float, pipe: str) -> Tensor:
    """Draws one affine map of colours for each image.

    Operations (c), in their order: brightness, contrast, luma flip, hue, saturation.

    Args:
        draws: Where the numbers come from.
        p: Probability of each operation.
        pipe: The letters of the groups that take part.

    Returns:
        ``colours`` of `Augmentations`.

    Source:
        Karras et al. 2020 (arXiv 2006.06676), Appendix B.
    """
    linear = torch.eye(3, dtype=torch.float64).expand(draws.count, 3, 3)
    offset = torch.zeros(draws.count, 3, 1, dtype=torch.float64)
    if "c" in pipe:
        offset = offset + _if(draws.coin(p), draws.normal(0.2), 0)[:, None, None]
        contrast = _if(draws.coin(p), 2 ** draws.normal(0.5), 1)
        flip = luma_flip(_if(draws.coin(p), draws.integer(2), 0))
        turn = hue(_if(draws.coin(p), draws.uniform(-math.pi, math.pi), 0))
        linear = turn @ flip @ (contrast[:, None, None] * linear)
        linear = saturation(_if(draws.coin(p), 2 ** draws.normal(1.0), 1)) @ linear
    return torch.cat([linear, linear @ offset], dim=2)  # [N, 3, 4]


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Stretches by x and y, each ``[N]``, to ``[N, 3, 3]``."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def rotation(angles: Tensor) -> Tensor:
    """Turns the x axis towards the y axis by ``[N]`` radians, to ``[N, 3, 3]``."""
    return _turned(angles.cos(), angles.sin())


def quarter_turn(counts: Tensor) -> Tensor:
    """As `rotation`, by ``[N]`` right angles, with entries that are exactly 0, 1 and -1."""
    return _turned((angle := counts * (math.pi / 2)).cos().round(), angle.sin().round())


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Moves by x and y pixels, each ``[N]``, to ``[N, 3, 3]``."""
    moved = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
    moved[:, 0, 2], moved[:, 1, 2] = x, y
    return moved


def luma_flip(flipped: Tensor) -> Tensor:
    """Light for dark and hue kept, where ``[N]`` is 1 and not 0, to ``[N, 3, 3]``."""
    return torch.eye(3, dtype=torch.float64) - 2 * flipped[:, None, None] * _onto_grey()


def hue(angles: Tensor) -> Tensor:
    """Turns colours around the grey axis by ``[N]`` radians, to ``[N, 3, 3]``."""
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    v = 1 / math.sqrt(3)
    crossed = torch.tensor([[0, -v, v], [v, 0, -v], [-v, v, 0]], dtype=torch.float64)
    unturned = torch.eye(3, dtype=torch.float64)
    return cos * unturned + sin * crossed + (1 - cos) * _onto_grey()  # Rodrigues


def saturation(factors: Tensor) -> Tensor:
    """Scales the distance from the grey axis by ``[N]``, to ``[N, 3, 3]``."""
    onto = _onto_grey()
    return onto + factors[:, None, None] * (torch.eye(3, dtype=torch.float64) - onto)


def _onto_grey() -> Tensor:
    """The projection of colours on the grey axis, luma's direction."""
    return torch.full((3, 3), 1 / 3, dtype=torch.float64)


def _turned(cos: Tensor, sin: Tensor) -> Tensor:
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def _if(coins: Tensor, values: Tensor, otherwise: float) -> Tensor:
    return torch.where(coins, values, otherwise)
