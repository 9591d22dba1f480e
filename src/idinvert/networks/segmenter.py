"""The segmenter: classifies each pixel; small enough to be shipped for each domain."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from idinvert.annotations import PositiveInt, Resolution
from idinvert.errors import ConfigError
from idinvert.networks.attributes import ConvBlock
from idinvert.networks.layers import constructor_arguments, in_fastest_layout

_GROUPS = 8
_LEVELS = 3  # halvings


class Segmenter(nn.Module):
    """A U-Net with additive skip connections: maps images to a logit per class and pixel.

    Like the attribute network, it has only group normalisation and SiLU: both modes are the same,
    images of a batch do not affect one another, and the gradient of a class's area is smooth.

    Args:
        resolution: Side of the square images, a multiple of 8.
        classes: Names of the C classes; the index is the value in a mask.
        width: Channels at full resolution, a multiple of 8.
        deep: Channels at lower resolutions, a multiple of 8.

    Raises:
        ConfigError: The sizes are invalid, or there are fewer than two different classes.
    """

    def __init__(
        self,
        *,
        resolution: Resolution,
        classes: Sequence[str],
        width: PositiveInt = 16,
        deep: PositiveInt = 24,
    ) -> None:
        super().__init__()
        if resolution % 2**_LEVELS:
            raise ConfigError(
                f"segmenter: got resolution {resolution}, expected a multiple of {2**_LEVELS}; "
                "change data.resolution"
            )
        for key, value in (("width", width), ("deep", deep)):
            if value % _GROUPS:
                raise ConfigError(
                    f"segmenter: got {key} {value}, expected a multiple of {_GROUPS}; change "
                    f"segmenter.{key}"
                )
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ConfigError(
                f"segmenter: got the classes {list(classes)}, expected two or more different names"
            )
        self.architecture = constructor_arguments(locals(), Segmenter)
        self.resolution, self.classes = resolution, tuple(classes)
        sizes = [width, *[deep] * _LEVELS]
        pairs = list(itertools.pairwise(sizes))
        back = pairs[::-1]
        self.stem = nn.Sequential(
            ConvBlock(in_channels=3, out_channels=width),
            ConvBlock(in_channels=width, out_channels=width),
        )
        self.down = nn.ModuleList(ConvBlock(in_channels=a, out_channels=b) for a, b in pairs)
        self.bottom = ConvBlock(in_channels=deep, out_channels=deep)
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in back)
        self.up = nn.ModuleList(ConvBlock(in_channels=a, out_channels=a) for a, _ in back)
        self.head = nn.Conv2d(width, len(classes), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to logits ``[N, C, R, R]``.

        Raises:
            ConfigError: The images have another size.
        """
        if images.shape[-2:] != (self.resolution, self.resolution):
            raise ConfigError(
                f"segmenter: got images {tuple(images.shape[-2:])}, expected "
                f"{self.resolution}x{self.resolution}; give a segmenter trained at this resolution "
                "(segmenter.path)"
            )
        x = self.stem(in_fastest_layout(images))
        skips = [x]
        for block in self.down:
            x = block(functional.avg_pool2d(x, 2))
            skips.append(x)
        x = self.bottom(skips.pop())
        for narrow, block in zip(self.narrow, self.up, strict=True):
            x = functional.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = block(x + skips.pop())
        return self.head(x)

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to the likeliest classes, uint8 ``[N, R, R]``."""
        return self(images).argmax(dim=1).to(torch.uint8)
