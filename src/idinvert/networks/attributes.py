"""The attribute network: predicts labels, serves as F, and embeds for a Fréchet distance."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from idinvert.annotations import PositiveInt, Resolution
from idinvert.errors import ConfigError
from idinvert.networks.layers import constructor_arguments, in_fastest_layout

KINDS = ("continuous", "binary")
_GROUPS = 8
_SMALLEST = 4  # the trunk ends at 4x4


class ConvBlock(nn.Module):
    """3x3 convolution, group normalisation, SiLU; keeps the spatial size."""

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(_GROUPS, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, in, h, w]`` to ``[N, out, h, w]``."""
        return functional.silu(self.norm(self.conv(x)))


class AttributeNetwork(nn.Module):
    """Predicts attributes from an image; its middle layer is the miniature's perceptual feature.

    It has only group normalisation and SiLU: training and evaluation mode are the same, images of
    a batch do not affect one another, and the gradient is smooth, as a perceptual loss requires.

    Args:
        resolution: Side of the square images, a power of two, at least 8.
        kinds: ``"continuous"`` or ``"binary"`` for each attribute.
        names: Names of the attributes, in the order of the labels.
        width: Channels at full resolution, a multiple of 8; twice as many at lower resolutions.
        embedding: Length of the vector of `embed`.

    Raises:
        ConfigError: The sizes or the attribute lists are inconsistent.
    """

    is_binary: Tensor

    def __init__(
        self,
        *,
        resolution: Resolution,
        kinds: Sequence[str],
        names: Sequence[str],
        width: PositiveInt = 32,
        embedding: int = 96,
    ) -> None:
        super().__init__()
        if resolution < 8 or resolution & (resolution - 1):
            raise ConfigError(
                f"attribute network: got resolution {resolution}, expected a power of two from 8 "
                "up; change data.resolution"
            )
        if width % _GROUPS:
            raise ConfigError(
                f"attribute network: got width {width}, expected a multiple of {_GROUPS}; "
                "change attributes.width"
            )
        if len(kinds) != len(names) or not names:
            raise ConfigError(
                f"attribute network: got {len(names)} names and {len(kinds)} kinds, expected as "
                "many of the one as of the other and at least one; change attributes.names"
            )
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise ConfigError(
                f"attribute network: got kinds {unknown}, expected {list(KINDS)}; "
                "change attributes.kinds"
            )
        self.architecture = constructor_arguments(locals(), AttributeNetwork)
        self.resolution = resolution
        self.names = tuple(names)
        self.kinds = tuple(kinds)
        self.register_buffer(
            "is_binary", torch.tensor([kind == "binary" for kind in kinds]), persistent=False
        )
        features_at = max(resolution // 4, _SMALLEST)
        self.stem = ConvBlock(in_channels=3, out_channels=width)
        upper: list[nn.Module] = []
        lower: list[nn.Module] = []
        channels, side = width, resolution
        while side > _SMALLEST:
            side //= 2
            blocks = upper if side >= features_at else lower
            blocks.append(nn.AvgPool2d(2))
            blocks.append(ConvBlock(in_channels=channels, out_channels=2 * width))
            if side >= features_at:
                blocks.append(ConvBlock(in_channels=2 * width, out_channels=2 * width))
            channels = 2 * width
        self.upper = nn.Sequential(*upper)  # [N, 2 * width, R / 4, R / 4]
        self.lower = nn.Sequential(*lower)  # [N, 2 * width, 4, 4]
        self.squeeze = nn.Conv2d(channels, width, 1)
        self.embedding = nn.Linear(width * _SMALLEST**2, embedding)
        self.heads = nn.Linear(embedding, len(names))

    def features(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to F(x) ``[N, 2 * width, R / 4, R / 4]``."""
        return self.taps(images)[-1]

    def taps(self, images: Tensor) -> list[Tensor]:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to each block's output, from R down to R / 4."""
        if images.shape[-2:] != (self.resolution, self.resolution):
            raise ConfigError(
                f"attribute network: got images {tuple(images.shape[-2:])}, expected "
                f"{self.resolution}x{self.resolution}; change data.resolution or take an "
                "attribute network trained at this resolution"
            )
        x = self.stem(in_fastest_layout(images))
        found = [x]
        for module in self.upper:
            x = module(x)
            if isinstance(module, ConvBlock):
                found.append(x)
        return found

    def embed(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to ``[N, embedding]``, without activation."""
        x = functional.silu(self.squeeze(self.lower(self.features(images))))
        return self.embedding(x.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to ``[N, A]``: logits if binary, else values."""
        return self.heads(functional.silu(self.embed(images)))

    def predict(self, images: Tensor) -> Tensor:
        """Maps images to labels ``[N, A]``: probabilities if binary, else values near [-1, 1]."""
        outputs = self(images)
        return torch.where(self.is_binary, outputs.sigmoid(), outputs)


class JoinedAttributes(nn.Module):
    """The attribute networks of several domains side by side; each one sees every image.

    An image has labels of its own domain only. The predictions of the other networks are not
    compared with any label, but their features are as useful.

    Args:
        parts: Constructor arguments of each network.
        prefixes: Prefix of each network's attribute names: ``<prefix>_<name>``.
    """

    def __init__(self, *, parts: Sequence[Mapping[str, Any]], prefixes: Sequence[str]) -> None:
        super().__init__()
        self.architecture = {"parts": list(map(dict, parts)), "prefixes": list(prefixes)}
        networks = [AttributeNetwork(**part) for part in parts]
        self.networks = nn.ModuleList(networks)
        self.resolution = networks[0].resolution
        each = list(zip(prefixes, networks, strict=True))
        self.names = tuple(f"{prefix}_{name}" for prefix, one in each for name in one.names)
        self.kinds = tuple(kind for one in networks for kind in one.kinds)

    def _joined(self, method: str, images: Tensor) -> Tensor:
        return torch.cat([getattr(one, method)(images) for one in self.networks], dim=1)

    def features(self, images: Tensor) -> Tensor:
        """As in `AttributeNetwork`, with the maps of all networks concatenated."""
        return self._joined("features", images)

    def taps(self, images: Tensor) -> list[Tensor]:
        """As in `AttributeNetwork`, with the maps of all networks concatenated for each block."""
        found: Any = zip(*(one.taps(images) for one in self.networks), strict=True)  # type: ignore[operator]
        return [torch.cat(maps, dim=1) for maps in found]

    def embed(self, images: Tensor) -> Tensor:
        """Maps images to the embeddings of all networks, ``[N, sum of embeddings]``."""
        return self._joined("embed", images)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to ``[N, A]``: logits if binary, else values."""
        return self._joined("forward", images)

    def predict(self, images: Tensor) -> Tensor:
        """Maps images to labels ``[N, A]``."""
        return self._joined("predict", images)


class AttributeFeatures(nn.Module):
    """The attribute network as F: its forward pass returns features.

    Args:
        network: The trained attribute network.
    """

    def __init__(self, *, network: AttributeNetwork | JoinedAttributes) -> None:
        super().__init__()
        self.network = network
        self.architecture = {"network": {"class": type(network).__name__, **network.architecture}}

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to F(x) ``[N, C, R / 4, R / 4]``."""
        return self.network.features(images)

    def taps(self, images: Tensor) -> list[Tensor]:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to the output of each block; F(x) is the last."""
        return self.network.taps(images)

    def embed(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to vectors ``[N, D]``."""
        return self.network.embed(images)
