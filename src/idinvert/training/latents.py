"""Inputs from which G makes a batch of training images: codes with style mixing, and noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idinvert.inversion.initialization import mapped
from idinvert.networks.mapping import one_hot


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Inputs of G for N images.

    Args:
        z: Two codes for each image, ``[N, 2, z_dim]``.
        labels: Label of each image, ``[N, c_dim]``; ``[N, 0]`` for an unconditional G.
        crossovers: First layer that takes the second code, int ``[N]``; L for no mixing.
        noise: Noise of each layer, ``[N, 1, h, w]``.
    """

    z: Tensor
    labels: Tensor
    crossovers: Tensor
    noise: Sequence[Tensor]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in the order of the arguments of `of`."""
        return (self.z, self.labels, self.crossovers, *self.noise)

    @classmethod
    def of(cls, z: Tensor, labels: Tensor, crossovers: Tensor, *noise: Tensor) -> "Latents":
        """Builds latents from their `tensors`."""
        return cls(z=z, labels=labels, crossovers=crossovers, noise=noise)

    def split(self, size: int) -> list["Latents"]:
        """Splits into micro-batches of at most ``size`` images, in order."""
        parts = zip(*(tensor.split(size) for tensor in self.tensors), strict=True)
        return [Latents.of(*tensors) for tensors in parts]


def labels_of(batch: dict[str, Tensor], network: Any) -> Tensor:
    """Returns the one-hot classes of a batch, ``[N, c_dim]``; ``[N, 0]`` without classes."""
    classes = getattr(network, "c_dim", 0)
    if not classes:
        return one_hot(batch["image"], 0)
    return one_hot(batch["class"], classes).to(next(network.parameters()))


def draw_labels(generator: Any, count: int, *, rng: torch.Generator) -> Tensor:
    """Draws one-hot classes uniformly, ``[count, c_dim]`` on G's device; ``c_dim`` may be 0."""
    classes = getattr(generator, "c_dim", 0)
    place: Any = {"generator": rng, "device": rng.device}
    drawn = torch.randint(0, classes, (count,), **place) if classes else torch.zeros(count)
    return one_hot(drawn, classes).to(generator.w_avg)


def draw_latents(
    generator: Any, labels: Tensor, *, style_mixing: float, rng: torch.Generator
) -> Latents:
    """Draws the inputs of G for one image of each label.

    Args:
        generator: G, which determines the shapes.
        labels: Label of each image, ``[N, c_dim]``; ``[N, 0]`` for an unconditional G.
        style_mixing: Probability that an image takes its later layers from a second code.
        rng: Random generator on any device; the results are on G's device.
    """
    count = len(labels)
    place: dict[str, Any] = {"generator": rng, "device": rng.device}
    z = torch.randn(2 * count, generator.z_dim, **place)
    mixed = torch.rand(count, **place) < style_mixing
    crossovers = torch.randint(1, generator.num_layers, (count,), **place)
    # Noise last and layer by layer, in the order in which the synthesis itself would draw it.
    dtype = generator.w_avg.dtype
    noise = [torch.randn(count, 1, *size, dtype=dtype, **place) for size in generator.noise_shapes]
    crossovers = torch.where(mixed, crossovers, generator.num_layers)
    drawn = (z.view(2, count, -1).transpose(0, 1), labels, crossovers, *noise)
    return Latents.of(*(tensor.to(generator.w_avg.device) for tensor in drawn))


def mixed_codes(generator: Any, latents: Latents) -> tuple[Tensor, Tensor]:
    """Maps latents to the codes of all layers.

    Args:
        generator: G with its M.
        latents: Latents of N images.

    Returns:
        The mixed codes ``[N, L, w_dim]``, and the codes of the first z alone, of the same shape.
    """
    z = latents.z.transpose(0, 1).flatten(0, 1)  # [2 * N, z_dim], all first codes, then all second
    labels = latents.labels.repeat(2, 1)  # both codes of an image are of the same class
    first, second = mapped(generator, z, labels).split(len(latents.z))  # each [N, L, w_dim]
    layer = torch.arange(generator.num_layers, device=z.device)
    from_first = (layer < latents.crossovers[:, None])[..., None]  # [N, L, 1]
    return torch.where(from_first, first, second), first
