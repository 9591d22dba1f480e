"""The encoders of pSp and e4e: style heads on a feature pyramid, or one w of the last features."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from idinvert.errors import ConfigError
from idinvert.networks.encoder import Encoding, adopt_offset
from idinvert.networks.irse import IRSE, IRSE50, Features
from idinvert.networks.layers import EqualLinear, constructor_arguments, in_fastest_layout

COARSE_UNTIL, MIDDLE_UNTIL = 3, 7
"""Styles 0–2 come from the coarse features, 3–6 from the middle ones, the others from the fine."""
SMALLEST = 32
_REDUCTION = {"coarse": 16, "middle": 8, "fine": 4}  # side of the input / side of the level
_SLOPE = 0.01


class PspEncoder(nn.Module):
    """E of "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation".

    Images of any size are first resized to `input_size`.

    Args:
        num_layers: L of the generator.
        w_dim: Width of w.
        latent: ``"w_plus"``: a head for each layer (the authors' GradualStyleEncoder); ``"w"``: the
            mean of the last features and one dense layer
            (their BackboneEncoderUsingLastLayerIntoW).
        offset: Add the buffer ``w_offset`` (the generator's mean code) to the codes, as in the
            authors' code.
        input_size: Side to which images are resized, a power of two, at least 32.
        input_height: Height of the input, if it is less than `input_size`.
        channels: Feature maps of the body's first stage.
        units: Number of units in each of the body's four stages.
        reduction: Reduction of the body's squeeze and excitation.
        norm: Normalisation of the body: ``"batch"``, ``"sync"`` or ``"none"``.

    Raises:
        ConfigError: A value is invalid.

    Source: Richardson et al. 2021 (arXiv 2008.00951), Sec. 3.
    """

    w_offset: Tensor
    name = "psp"
    noise_head = None

    def __init__(
        self,
        *,
        num_layers: int,
        w_dim: int = 512,
        latent: str = "w_plus",
        offset: bool = True,
        input_size: int = 256,
        input_height: int | None = None,
        channels: int = 64,
        units: Sequence[int] = IRSE50,
        reduction: int = 16,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if latent not in ("w_plus", "w"):
            raise ConfigError(
                f"encoder: got latent {latent!r}, expected 'w_plus' or 'w'; change latent"
            )
        height = input_size if input_height is None else input_height
        check_input(size=input_size, height=height)
        if len(units) != 4 or min(units) < 1:
            raise ConfigError(
                f"encoder: got units {list(units)}, expected four numbers from 1 up; change "
                "encoder.units"
            )
        self.architecture = constructor_arguments(locals(), PspEncoder)
        self.num_layers, self.w_dim, self.latent, self.offset = num_layers, w_dim, latent, offset
        self.input_size, self.input_height = input_size, height
        self.body = IRSE(channels=channels, units=units, reduction=reduction, norm=norm)
        if latent == "w_plus":
            self.pyramid = Pyramid(channels)
            self.heads = nn.ModuleList(
                MapToStyle(8 * channels, w_dim, side=input_size // _REDUCTION[level_of(i)])
                for i in range(num_layers)
            )
        else:
            self.linear = EqualLinear(8 * channels, w_dim)
        self.register_buffer("w_offset", torch.zeros(num_layers, w_dim))

    @property
    def backbone(self) -> Self:
        """Itself: its body cannot be used without its heads, and tables name both as one."""
        return self

    @property
    def code_space(self) -> str:
        """``"w"`` if every layer gets the same code, otherwise ``"w_plus"``."""
        return self.latent

    def set_offset(self, w_avg: Tensor) -> None:
        """Sets the offset to the generator's average code; see `adopt_offset`."""
        adopt_offset(self, w_avg)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images [N, 3, R, R] in [-1, 1] to codes [N, L, w_dim].

        Raises:
            ConfigError: The images are not square RGB images.
        """
        check_images(images)
        features = self.body(fit(images, size=self.input_size, height=self.input_height))
        codes = self.codes(features)  # [N, L, w_dim]
        return codes + self.w_offset if self.offset else codes

    def codes(self, features: Features) -> Tensor:
        """Maps the body's features to codes [N, L, w_dim], without the offset."""
        if self.latent == "w_plus":
            features = self.pyramid(features)
            heads = enumerate(self.heads)
            return torch.stack([head(features_of(features, i)) for i, head in heads], dim=1)
        w = self.linear(features.coarse.mean(dim=(2, 3)))  # [N, w_dim]
        return w[:, None, :].expand(-1, self.num_layers, -1)

    def encode(self, images: Tensor) -> Encoding:
        """Returns the codes of `forward`; G keeps its own noise."""
        return Encoding(self(images))


class E4eEncoder(PspEncoder):
    """E of "Designing an Encoder for StyleGAN Image Manipulation": maps images to codes.

    The first head predicts w; each further head predicts Δ of its layer, which is added to w.
    Images of any size are first resized to `input_size`.

    The body, the pyramid and the heads are those of pSp, and so are the arguments. ``latent`` is
    always ``"w_plus"``. The authors' model of cars has an ``input_height`` of 192.

    Attributes:
        unlocked: [L, 1], 1 for each layer whose Δ is added; see `set_stage`.

    Raises:
        ConfigError: A value is invalid.

    Source: Tov et al. 2021 (arXiv 2102.02766), Sec. 4; Table 4 of the paper compares with it.
    """

    unlocked: Tensor
    name = "e4e"
    deltas = True

    def __init__(self, *, num_layers: int, latent: str = "w_plus", **settings: Any) -> None:
        if latent != "w_plus":
            raise ConfigError(
                f"encoder: got latent {latent!r}, but e4e predicts W+; set latent=w_plus, or take "
                "encoder=psp, which has a head for W"
            )
        super().__init__(num_layers=num_layers, latent=latent, **settings)
        self.register_buffer("unlocked", torch.ones(num_layers, 1))
        self.set_stage(num_layers - 1)

    def set_stage(self, stage: int) -> None:
        """Adds Δ only in layers 1 … `stage` (progressive training); the others take w."""
        layer = torch.arange(self.num_layers, device=self.unlocked.device)
        self.unlocked.copy_(((layer > 0) & (layer <= stage))[:, None])

    def codes(self, features: Features) -> Tensor:
        """Maps the body's features to codes [N, L, w_dim]: w of layer 0, plus Δ in the others."""
        w, *steps = super().codes(features).unbind(dim=1)
        deltas = torch.stack([torch.zeros_like(w), *steps], dim=1)  # [N, L, w_dim]
        return w[:, None] + self.unlocked * deltas  # w_i = w + Δ_i, Sec. 4.1 there


class MapToStyle(nn.Module):
    """Halves a feature map down to one pixel and maps it to a code.

    Args:
        in_channels: Number of feature maps.
        w_dim: Width of the code.
        side: Side of the map in pixels, a power of two; there are log2(side) convolutions.
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
    """Adds coarse features to the finer ones.

    Args:
        channels: c of the body (`IRSE`).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.middle = nn.Conv2d(4 * channels, 8 * channels, 1)
        self.fine = nn.Conv2d(2 * channels, 8 * channels, 1)

    def forward(self, features: Features) -> Features:
        """Maps the body's features to levels of 8c maps each."""
        middle = _onto(features.coarse, self.middle(features.middle))
        return Features(
            fine=_onto(middle, self.fine(features.fine)), middle=middle, coarse=features.coarse
        )


def level_of(layer: int) -> str:
    """Returns the level of the pyramid from which the code of a layer of G is predicted."""
    if layer < COARSE_UNTIL:
        return "coarse"
    return "middle" if layer < MIDDLE_UNTIL else "fine"


def features_of(features: Features, layer: int) -> Tensor:
    """Returns the features from which the code of a layer of G is predicted."""
    return getattr(features, level_of(layer))


def fit(images: Tensor, *, size: int, height: int) -> Tensor:
    """Resizes images to the encoder's input, as in the authors' data loaders.

    If `height` is below `size` (e4e's cars), the rows that are black above and below in StyleGAN's
    square images are cropped first.

    Args:
        images: Images [N, 3, R, R] in [-1, 1].
        size: Width of the input, in pixels.
        height: Height of the input, in pixels.

    Returns:
        Images [N, 3, height, size], bilinear and antialiased; unchanged if the size matches.
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
        ConfigError: `size` is no power of two ≥ 32, or `height` no multiple of 16 in size/2 … size.
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
    """Refuses inputs that are not a batch of square RGB images.

    Raises:
        ConfigError: The shape is not [N, 3, R, R].
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ConfigError(
            f"encoder: got images {tuple(images.shape)}, expected square RGB ones, [N, 3, R, R]; "
            "change data or images"
        )


def _onto(coarse: Tensor, fine: Tensor) -> Tensor:
    """Enlarges the coarse map bilinearly, with aligned corners, and adds the fine one."""
    size = (fine.shape[2], fine.shape[3])
    up = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
    return up + fine
