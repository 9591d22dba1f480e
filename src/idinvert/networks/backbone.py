"""Base class and shared parts of E's backbones: strides for any resolution, batch normalisation."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional

from idinvert.errors import ConfigError
from idinvert.networks.layers import in_fastest_layout

NORMS = ("batch", "sync", "none")
SMALLEST = 4


class Backbone(nn.Module):
    """Maps images to a 4x4 feature map through a sequence of modules.

    Attributes:
        resolution: Side of the images.
        out_channels: Channels of the last feature map.
        out_size: Side of the last feature map, 4.
        channels_at: Side -> channels of the feature map that `features` returns for that side.
        architecture: The constructor's arguments.
    """

    resolution: int
    out_channels: int
    out_size = SMALLEST
    channels_at: dict[int, int]
    architecture: dict[str, Any]

    def steps(self) -> Sequence[nn.Module]:
        """The modules that an image passes through, in order."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to ``[N, C, 4, 4]``."""
        x = in_fastest_layout(images)
        for step in self.steps():
            x = step(x)
        return x

    def features(self, images: Tensor) -> dict[int, Tensor]:
        """Returns the last feature map ``[N, C, side, side]`` of each side; 4 is `forward`'s."""
        x = in_fastest_layout(images)
        found = {}
        for step in self.steps():
            x = step(x)
            found[x.shape[-1]] = x
        return found


def halvings(resolution: int) -> int:
    """Returns the number of halvings of the side from `resolution` down to 4.

    Args:
        resolution: Side of the images.

    Raises:
        ConfigError: It is not a power of two, or is below 8.
    """
    if resolution < 2 * SMALLEST or resolution & (resolution - 1):
        raise ConfigError(
            f"encoder: got resolution {resolution}, expected a power of two from "
            f"{2 * SMALLEST} up; change data.resolution"
        )
    return int(math.log2(resolution // SMALLEST))


def kept_strides(resolution: int, *, places: int) -> tuple[list[int], int]:
    """Returns a stride for each downsampling layer of a classifier, and the halvings to be added.

    Classifiers halve the side at a fixed number of layers. If the images are too small for that,
    the *earliest* of these layers keep their resolution (as in ResNets for 32 px images). If the
    images are larger, further halvings are added after the last one.

    Args:
        resolution: Side of the images.
        places: Number of layers at which the architecture halves the side.

    Returns:
        ``places`` strides of 1 or 2, first to last, and the number of halvings that remain.

    Raises:
        ConfigError: As in `halvings`.
    """
    count = halvings(resolution)
    dropped = max(0, places - count)
    return [1] * dropped + [2] * (places - dropped), max(0, count - places)


def zero_residual_branches(branches: list[nn.Conv2d]) -> None:
    """Initialises residual branches to zero, because activations grow without normalisation."""
    for conv in branches:
        nn.init.zeros_(conv.weight)


def he_initialise(module: nn.Module) -> None:
    """Applies He initialisation to every convolution of ``module``, as in the classifiers."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def named_norm(channels: int, *, norm: str) -> nn.Module:
    """Returns `batch_norm` with gamma, with the signature of torchvision's ``norm_layer``."""
    return batch_norm(channels=channels, norm=norm, scale=True)


class BatchNorm(nn.Module):
    """Batch normalisation as in the authors' code: with or without gamma, over one rank or all.

    Statistics are taken over all dimensions but the second.

    Args:
        channels: C.
        scale: Whether gamma is learned; otherwise it is 1 (the authors' first encoder).
        synchronised: Take the statistics over all ranks, weighted by their image counts.
        momentum: Weight of the newest batch in the running statistics (the authors' decay 0.9).
        eps: Added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        *,
        channels: int,
        scale: bool,
        synchronised: bool,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.synchronised, self.momentum, self.eps = synchronised, momentum, eps
        if scale:
            self.weight = nn.Parameter(torch.ones(channels))
        else:
            self.register_buffer("weight", torch.ones(channels), persistent=False)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises ``[N, C, ...]``; the shape is unchanged.

        Raises:
            ConfigError: Training on a single value per channel, which has no variance.
        """
        if self.training and self._ranks() > 1:
            return self._across_ranks(x)
        if self.training and x.numel() == x.shape[1]:
            raise ConfigError(
                "batch normalisation: got one image a rank in training, expected at least two; "
                "raise batch_size, lower trainer.devices or set encoder.norm=none"
            )
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )

    def _ranks(self) -> int:
        if not self.synchronised or not distributed.is_available():
            return 1
        return distributed.get_world_size() if distributed.is_initialized() else 1

    def _across_ranks(self, x: Tensor) -> Tensor:
        """Applies the same formula with sums over all ranks; works on any backend, also on CPUs."""
        dtype, x = x.dtype, x.to(self.bias.dtype)
        over = [0, *range(2, x.ndim)]
        shape = [1, -1, *([1] * (x.ndim - 2))]
        here = x.new_tensor([x.numel() / x.shape[1]])
        total = all_reduce(torch.cat([x.sum(over), here]))
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = x - mean.view(shape)
        # Two passes, because E[x^2] - E[x]^2 loses precision for a large mean.
        variance = all_reduce(centred.square().sum(over)) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        gain = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * gain.view(shape) + self.bias.view(shape)).to(dtype)


def batch_norm(*, channels: int, norm: str, scale: bool) -> nn.Module:
    """Returns the module for ``norm``: ``"batch"`` (per rank), ``"sync"`` or ``"none"`` (identity).

    Raises:
        ConfigError: Unknown norm.
    """
    if norm not in NORMS:
        raise ConfigError(
            f"encoder: got norm {norm!r}, expected one of {list(NORMS)}; change encoder.norm"
        )
    if norm == "none":
        return nn.Identity()
    return BatchNorm(channels=channels, scale=scale, synchronised=norm == "sync")
