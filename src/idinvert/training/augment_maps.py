"""Random augmentation of each image: an affine map of the plane and one of colours."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentations:
    """Augmentations of N images; float64 on the CPU, whatever the device of the images.

    Args:
        plane: Maps a position in the result to its source position in the image, ``[N, 3, 3]``;
            homogeneous (x, y, 1), in pixels from the image's centre, y down.
        resampled: Whether the source positions lie between pixels, bool ``[N]``.
        colours: Maps (r, g, b, 1) in [-1, 1] to the colours of the result, ``[N, 3, 4]``.
    """

    plane: Tensor
    resampled: Tensor
    colours: Tensor

    def __len__(self) -> int:
        return len(self.plane)

    def split(self, size: int) -> list["Augmentations"]:
        """Splits into micro-batches of ``size`` images, in order."""
        parts = (self.plane.split(size), self.resampled.split(size), self.colours.split(size))
        return [
            Augmentations(plane=plane, resampled=resampled, colours=colours)
            for plane, resampled, colours in zip(*parts, strict=True)
        ]


class Draws:
    """Random numbers for ``count`` images, drawn independently for each image.

    The parameters of an operation are drawn even when its coin decides against it, so that the
    draws of the other operations do not depend on p.
    """

    def __init__(self, count: int, rng: torch.Generator) -> None:
        self.count, self.rng = count, rng

    def coin(self, p: float) -> Tensor:
        """Returns True with probability p, bool ``[N]``."""
        return self.uniform(0, 1) < p

    def uniform(self, low: float, high: float) -> Tensor:
        """Draws from U(low, high), ``[N]``."""
        drawn = torch.rand(self.count, generator=self.rng, dtype=torch.float64)
        return low + (high - low) * drawn

    def normal(self, std: float) -> Tensor:
        """Draws from N(0, std²), ``[N]``."""
        return std * torch.randn(self.count, generator=self.rng, dtype=torch.float64)

    def integer(self, below: int) -> Tensor:
        """Draws integers from 0 to ``below`` - 1 uniformly, ``[N]``."""
        return torch.randint(below, (self.count,), generator=self.rng).double()


def draw_plane(draws: Draws, *, p: float, resolution: int, pipe: str) -> tuple[Tensor, Tensor]:
    """Draws one affine map of the plane for each image.

    Operations, in order: (b) mirroring, quarter turns, translation by whole pixels; (g) scaling,
    rotation, anisotropic scaling, second rotation, translation. Each is applied with probability
    p; at least one of the two rotations is applied with probability p.

    Args:
        draws: Source of random numbers.
        p: Probability of each operation.
        resolution: Side length in pixels; translations are fractions of it.
        pipe: The letters of the groups to apply.

    Returns:
        ``plane`` and ``resampled`` as in `Augmentations`.

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
        # Probability of each rotation such that at least one is applied with probability p.
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

    Operations (c), in order: brightness, contrast, luma flip, hue, saturation.

    Args:
        draws: Source of random numbers.
        p: Probability of each operation.
        pipe: The letters of the groups to apply.

    Returns:
        ``colours`` as in `Augmentations`.

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
    """Returns matrices that scale by x and y, each ``[N]``; ``[N, 3, 3]``."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def rotation(angles: Tensor) -> Tensor:
    """Returns rotations of the x axis towards the y axis by ``[N]`` radians; ``[N, 3, 3]``."""
    return _turned(angles.cos(), angles.sin())


def quarter_turn(counts: Tensor) -> Tensor:
    """As `rotation`, by ``[N]`` right angles, with entries that are exactly 0, 1 and -1."""
    return _turned((angle := counts * (math.pi / 2)).cos().round(), angle.sin().round())


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Returns matrices that move by x and y pixels, each ``[N]``; ``[N, 3, 3]``."""
    moved = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
    moved[:, 0, 2], moved[:, 1, 2] = x, y
    return moved


def luma_flip(flipped: Tensor) -> Tensor:
    """Returns matrices that invert luma and keep hue where ``[N]`` is 1, not 0; ``[N, 3, 3]``."""
    return torch.eye(3, dtype=torch.float64) - 2 * flipped[:, None, None] * _onto_grey()


def hue(angles: Tensor) -> Tensor:
    """Returns rotations of colours around the grey axis by ``[N]`` radians; ``[N, 3, 3]``."""
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    v = 1 / math.sqrt(3)
    crossed = torch.tensor([[0, -v, v], [v, 0, -v], [-v, v, 0]], dtype=torch.float64)
    unturned = torch.eye(3, dtype=torch.float64)
    return cos * unturned + sin * crossed + (1 - cos) * _onto_grey()  # Rodrigues


def saturation(factors: Tensor) -> Tensor:
    """Returns matrices that scale the distance from the grey axis by ``[N]``; ``[N, 3, 3]``."""
    onto = _onto_grey()
    return onto + factors[:, None, None] * (torch.eye(3, dtype=torch.float64) - onto)


def _onto_grey() -> Tensor:
    """Returns the projection of colours onto the grey axis, the direction of luma."""
    return torch.full((3, 3), 1 / 3, dtype=torch.float64)


def _turned(cos: Tensor, sin: Tensor) -> Tensor:
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def _if(coins: Tensor, values: Tensor, otherwise: float) -> Tensor:
    return torch.where(coins, values, otherwise)
