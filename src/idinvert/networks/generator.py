"""What every generator offers to the rest of the project, and the pieces they share."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

Noise = str | Sequence[Tensor]
"""How noise enters: "const" (stored maps), "random" (drawn from rng), "none", or a list of maps."""


class SynthesisState(NamedTuple):
    """Where a synthesis stands after its first `layer` layers; it depends on w[:, :layer] alone.

    Attributes:
        features: Feature maps [N, C, h, w].
        image: Image so far [N, 3, h', w'] of a skip architecture, or None.
        layer: Number of layers done, 0 … L.
        shortcut: What a residual architecture adds after the next layer [N, C', 2h, 2w], or None.
    """

    features: Tensor
    image: Tensor | None
    layer: int
    shortcut: Tensor | None = None


@runtime_checkable
class Generator(Protocol):
    """A StyleGAN-like generator: mapping, then a synthesis that takes one w a layer."""

    resolution: int
    num_layers: int
    z_dim: int
    w_dim: int
    multi_w: bool
    w_avg: Tensor
    noise_shapes: list[tuple[int, int]]
    architecture: dict

    def mapping(self, z: Tensor) -> Tensor:
        """Maps z [N, z_dim] to w [N, L, w_dim]; a conditional one takes labels c [N, c_dim] too."""
        ...

    def synthesis(
        self,
        w: Tensor,
        noise: Noise = "const",
        *,
        stop: int | None = None,
        resume: SynthesisState | None = None,
        rng: torch.Generator | None = None,
    ) -> Tensor | SynthesisState:
        """Maps w [N, L, w_dim] to images [N, 3, R, R], or to the state after `stop` layers."""
        ...

    def forward(
        self,
        z: Tensor,
        *,
        noise: Noise = "const",
        truncation: float = 1.0,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Maps z [N, z_dim] to images [N, 3, R, R]."""
        ...


def resolutions(resolution: int) -> list[int]:
    """Lists 4, 8, …, resolution.

    Args:
        resolution: Side of the image in pixels.

    Raises:
        ValueError: The resolution is no power of two or below 8.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(
            f"resolution={resolution} is no power of two from 8 on: set generator.resolution"
        )
    return [2**i for i in range(2, resolution.bit_length())]


def widths(
    resolution: int, channels: Sequence[int] | None, *, channel_base: int, channel_max: int
) -> list[int]:
    """Gives the number of feature maps at 4, 8, …, resolution.

    Args:
        resolution: Side of the image in pixels.
        channels: The widths themselves, or None for the rule min(channel_base / res, channel_max).
        channel_base: Numerator of the rule.
        channel_max: Upper bound of the rule.

    Raises:
        ValueError: `channels` has a wrong length.
    """
    sides = resolutions(resolution)
    if channels is None:
        return [min(channel_base // side, channel_max) for side in sides]
    if len(channels) != len(sides):
        raise ValueError(
            f"channels={list(channels)} has {len(channels)} entries, expected {len(sides)}: "
            f"one for each of {sides} (generator.channels, discriminator.channels)"
        )
    return list(channels)


def check_codes(w: Tensor, *, num_layers: int, w_dim: int) -> None:
    """Refuses style codes that do not fit the generator.

    Raises:
        ValueError: w is not [N, num_layers, w_dim].
    """
    if w.ndim != 3 or w.shape[1:] != (num_layers, w_dim):
        raise ValueError(
            f"w has shape {tuple(w.shape)}, expected [N, {num_layers}, {w_dim}] "
            "(do encoder and generator belong together?)"
        )


def check_span(first: int, last: int, *, num_layers: int) -> None:
    """Refuses a run of layers that is not in order or leaves the network.

    Raises:
        ValueError: Not 0 <= first <= last <= num_layers.
    """
    if not 0 <= first <= last <= num_layers:
        raise ValueError(
            f"cannot run from layer {first} to {last}: expected 0 <= first <= last <= {num_layers}"
        )


def check_images(images: Tensor, resolution: int) -> None:
    """Refuses images that do not fit a discriminator.

    Raises:
        ValueError: They are not [N, 3, resolution, resolution].
    """
    if images.ndim != 4 or images.shape[1:] != (3, resolution, resolution):
        raise ValueError(
            f"images have shape {tuple(images.shape)}, expected "
            f"[N, 3, {resolution}, {resolution}] (data.resolution)"
        )


def noise_map(
    noise: Noise,
    index: int,
    *,
    stored: Tensor,
    batch: int,
    rng: torch.Generator | None,
) -> Tensor | None:
    """Picks the noise of one layer.

    Args:
        noise: "const", "random", "none", or all maps of the generator, each [N or 1, 1, h, w].
        index: Which noise input.
        stored: The constant map [1, 1, h, w].
        batch: N.
        rng: Source of "random" noise, on the CPU or on the device of `stored`.

    Returns:
        Noise [N or 1, 1, h, w], or None for no noise.

    Raises:
        ValueError: Unknown mode, a missing generator of random numbers, or a map of wrong shape.
    """
    if isinstance(noise, str):
        if noise == "const":
            return stored
        if noise == "none":
            return None
        if noise != "random":
            raise ValueError(f'noise={noise!r}, expected "const", "random", "none" or maps')
        if rng is None:
            raise ValueError('noise="random" needs rng, a torch.Generator to draw from')
        shape = (batch, 1, *stored.shape[2:])
        drawn = torch.randn(shape, generator=rng, device=rng.device, dtype=stored.dtype)
        return drawn.to(stored.device)
    given = noise[index]
    if given.shape[1:] != stored.shape[1:] or given.shape[0] not in (1, batch):
        raise ValueError(
            f"noise map {index} has shape {tuple(given.shape)}, expected "
            f"[{batch} or 1, 1, {stored.shape[2]}, {stored.shape[3]}]"
        )
    return given


def check_noise(noise: Noise, shapes: Sequence[tuple[int, int]]) -> None:
    """Refuses a list of noise maps of wrong length.

    Raises:
        ValueError: There are more or fewer maps than noise inputs.
    """
    if not isinstance(noise, str) and len(noise) != len(shapes):
        raise ValueError(f"got {len(noise)} noise maps, expected {len(shapes)}")


def truncate(w: Tensor, w_avg: Tensor, truncation: float) -> Tensor:
    """Moves w towards the average: w̄ + ψ(w − w̄).

    Args:
        w: Style codes [N, L, w_dim].
        w_avg: Average codes [L, w_dim].
        truncation: ψ; 1 leaves w as it is.

    Returns:
        Tensor [N, L, w_dim].
    """
    return w if truncation == 1.0 else w_avg + truncation * (w - w_avg)


@torch.no_grad()
def move_average(w_avg: Tensor, w: Tensor, *, decay: float) -> None:
    """Moves the average codes in place towards the mean of a batch.

    Args:
        w_avg: Average codes [L, w_dim]; changed to decay · w_avg + (1 − decay) · mean(w).
        w: Style codes [N, L, w_dim].
        decay: Share of the old average, 0 … 1.
    """
    w_avg.lerp_(w.mean(dim=0).to(w_avg.dtype), 1 - decay)
