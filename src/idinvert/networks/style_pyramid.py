"""What the encoders of pSp and e4e share: their input, their feature pyramid, their style heads."""

import math

from torch import Tensor, nn
from torch.nn import functional

from idinvert.errors import ConfigError
from idinvert.networks.backbone import in_fastest_layout
from idinvert.networks.irse import IRSE, Features
from idinvert.networks.layers import EqualLinear

COARSE_UNTIL, MIDDLE_UNTIL = 3, 7
"""Styles 0–2 come from the coarse features, 3–6 from the middle ones, the others from the fine."""
SMALLEST = 32
_REDUCTION = {"coarse": 16, "middle": 8, "fine": 4}  # input side over the level's
_SLOPE = 0.01


class MapToStyle(nn.Module):
    """Halves a feature map down to one pixel and makes a code of it.

    Args:
        in_channels: Feature maps.
        w_dim: Width of the code.
        side: Side of the map in pixels, a power of two; it takes log2(side) convolutions.
    """

    def __init__(self, in_channels: int, w_dim: int, *, side: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels if i == 0 else w_dim, w_dim, 3, stride=2, padding=1)
            for i in range(int(math.log2(side)))
        )
        self.linear = EqualLinear(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C, side, side] to codes [N, w_dim]."""
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), _SLOPE)
        return self.linear(x.flatten(1))


class Pyramid(nn.Module):
    """Carries the coarse features down to the finer ones.

    Args:
        channels: c of the body (`IRSE`).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.middle = nn.Conv2d(4 * channels, 8 * channels, 1)
        self.fine = nn.Conv2d(2 * channels, 8 * channels, 1)

    def forward(self, features: Features) -> Features:
        """Maps the body's features to ones of 8c maps each."""
        middle = _onto(features.coarse, self.middle(features.middle))
        return Features(
            fine=_onto(middle, self.fine(features.fine)), middle=middle, coarse=features.coarse
        )


def style_heads(*, num_layers: int, channels: int, w_dim: int, input_size: int) -> nn.ModuleList:
    """One `MapToStyle` a layer of G, each for the features that `features_of` gives it."""
    return nn.ModuleList(
        MapToStyle(8 * channels, w_dim, side=input_size // _REDUCTION[level_of(i)])
        for i in range(num_layers)
    )


def level_of(layer: int) -> str:
    """The level of the pyramid from which the code of a layer of G is made."""
    if layer < COARSE_UNTIL:
        return "coarse"
    return "middle" if layer < MIDDLE_UNTIL else "fine"


def features_of(features: Features, layer: int) -> Tensor:
    """The features from which the code of a layer of G is made."""
    return getattr(features, level_of(layer))


def fit(images: Tensor, *, size: int, height: int) -> Tensor:
    """Brings images to the encoder's input, as the authors' data loaders do.

    Where `height` is below `size` (e4e's cars), the rows that StyleGAN's square images leave black
    above and below are cut off first.

    Args:
        images: Images [N, 3, R, R] in [-1, 1].
        size: Width of the input, in pixels.
        height: Height of the input, in pixels.

    Returns:
        Images [N, 3, height, size], bilinear and antialiased; unchanged where they fit.
    """
    side = images.shape[2]
    if height != size:
        rows = round(side * height / size)
        images = images[:, :, (side - rows) // 2 :][:, :, :rows]
    if tuple(images.shape[2:]) == (height, size):
        return in_fastest_layout(images)
    images = functional.interpolate(
        images, size=(height, size), mode="bilinear", align_corners=False, antialias=True
    )
    return in_fastest_layout(images)


def check_input(*, size: int, height: int) -> None:
    """Refuses an input that the heads cannot halve down to one pixel.

    Raises:
        ConfigError: `size` is no power of two from 32 up, or `height` is not in 1/2 … 1 of it.
    """
    if size < SMALLEST or size & (size - 1):
        raise ConfigError(
            f"encoder: got input_size {size}, expected a power of two from {SMALLEST} up; change "
            "encoder.input_size"
        )
    if not size // 2 < height <= size or height % 16:
        raise ConfigError(
            f"encoder: got input_height {height}, expected a multiple of 16 above {size // 2} and "
            f"up to {size}; change encoder.input_height"
        )


def check_images(images: Tensor) -> None:
    """Refuses what is no batch of square RGB images.

    Raises:
        ConfigError: It is not [N, 3, R, R].
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ConfigError(
            f"encoder: got images {tuple(images.shape)}, expected square RGB ones, [N, 3, R, R]; "
            "change data or images"
        )


def body(*, channels: int, units: tuple[int, ...], reduction: int, norm: str) -> IRSE:
    """The body of both encoders.

    Raises:
        ConfigError: Not four stages of at least one unit.
    """
    if len(units) != 4 or min(units) < 1:
        raise ConfigError(
            f"encoder: got units {list(units)}, expected four numbers from 1 up; change "
            "encoder.units"
        )
    return IRSE(channels=channels, units=units, reduction=reduction, norm=norm)


def _onto(coarse: Tensor, fine: Tensor) -> Tensor:
    """Enlarges the coarse map bilinearly, corner on corner, and adds the fine one."""
    size = (fine.shape[2], fine.shape[3])
    up = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
    return up + fine
