"""The convolutional part of the paper's encoder, in the authors' two versions."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional

from idinvert.annotations import Among, Norm, PositiveInt, Resolution
from idinvert.errors import ConfigError
from idinvert.networks.backbone import Backbone, batch_norm, halvings
from idinvert.networks.layers import constructor_arguments

VARIANTS = ("v1", "v2")
CHANNELS_MAX = {"v1": 1024, "v2": 512}
NORM = {"v1": "batch", "v2": "sync"}
"""Normalisation of the authors' variants: BatchNorm over one GPU or over all."""
_SLOPE = 0.2
_STD = 0.02


class Layer(nn.Module):
    """One convolution with its normalisation and activation, in the order of its variant.

    v1: convolution without bias, BN (beta only), leaky ReLU. v2: convolution with bias, leaky ReLU,
    BN (gamma and beta); a shortcut has only a convolution without bias and BN.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel: int,
        variant: str,
        norm: str,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.variant, self.shortcut = variant, shortcut
        # Without BN there is no beta, so the convolution has the bias.
        bias = not shortcut and (variant == "v2" or norm == "none")
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
        self.norm = batch_norm(channels=out_channels, norm=norm, scale=variant == "v2")
        if norm == "none":
            nn.init.kaiming_normal_(self.conv.weight, a=_SLOPE)
        else:
            nn.init.normal_(self.conv.weight, std=_STD)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, in, h, w]`` to ``[N, out, h, w]``."""
        x = self.conv(x)
        if self.variant == "v1":
            return functional.leaky_relu(self.norm(x), _SLOPE)
        return self.norm(x if self.shortcut else functional.leaky_relu(x, _SLOPE))


class Block(nn.Module):
    """Halves the side, then applies two layers with a shortcut; no activation after the sum."""

    def __init__(self, *, in_channels: int, out_channels: int, variant: str, norm: str) -> None:
        super().__init__()
        layer = partial(Layer, variant=variant, norm=norm)
        between = min(in_channels, out_channels)
        self.first = layer(in_channels=in_channels, out_channels=between, kernel=3)
        self.second = layer(in_channels=between, out_channels=out_channels, kernel=3)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = layer(
                in_channels=in_channels, out_channels=out_channels, kernel=1, shortcut=True
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, in, h, w]`` to ``[N, out, h / 2, w / 2]``."""
        x = functional.avg_pool2d(x, 2)
        return self.second(self.first(x)) + self.shortcut(x)


class BaseBackbone(Backbone):
    """Maps images to a 4x4 feature map: the paper's 14-layer CNN without its last dense layer.

    Args:
        resolution: Side of the images, a power of two, at least 8.
        variant: ``"v1"`` (the authors' first release) or ``"v2"`` (their later, more stable one).
        channels: Channels of the first layer; doubled by each block.
        channels_max: Upper bound of the channels; None for the variant's own, 1024 or 512.
        norm: ``"batch"`` (statistics per rank), ``"sync"`` (over all ranks) or ``"none"``; None
            for the variant's own, ``"batch"`` or ``"sync"``.

    Raises:
        ConfigError: A value is invalid.

    Source:
        Sec. 5.1 names the "14-layer CNN"; its layers are those of the authors' code.

    Differs from the paper:
        ``norm="none"`` is ours; it uses He initialisation instead of N(0, 0.02).
    """

    def __init__(
        self,
        *,
        resolution: Resolution,
        variant: Annotated[str, Among("v1", "v2")] = "v2",
        channels: PositiveInt = 64,
        channels_max: PositiveInt | None = None,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError(
                f"encoder: got variant {variant!r}, expected one of {list(VARIANTS)}; "
                "change encoder.backbone.variant"
            )
        if channels_max is None:
            channels_max = CHANNELS_MAX[variant]
        if norm is None:
            norm = NORM[variant]
        self.architecture = constructor_arguments(locals(), BaseBackbone)
        self.resolution, self.variant, self.name = resolution, variant, "base"
        widths = [min(channels * 2**i, channels_max) for i in range(halvings(resolution) + 1)]
        self.stem = Layer(
            in_channels=3,
            out_channels=widths[0],
            kernel=3 if variant == "v1" else 5,
            variant=variant,
            norm=norm,
        )
        self.blocks = nn.Sequential(
            *(
                Block(in_channels=fan_in, out_channels=fan_out, variant=variant, norm=norm)
                for fan_in, fan_out in itertools.pairwise(widths)
            )
        )
        self.out_channels = widths[-1]
        self.channels_at = {resolution >> i: width for i, width in enumerate(widths)}

    def steps(self) -> Sequence[nn.Module]:
        """The stem and the blocks."""
        return [self.stem, *self.blocks]
