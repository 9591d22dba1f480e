"""What G makes a batch of training images from: codes, part of them mixed of two, and noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idinvert.inversion.initialization import mapped
from idinvert.networks.mapping import one_hot


@dataclass(frozen=True, kw_only=True)
class Latents:
    """What N images are made from.

    Args:
        z: Two codes for each image, ``[N, 2, z_dim]``.
        labels: Its label, ``[N, c_dim]``; ``[N, 0]`` where G takes none.
        crossovers: The first layer that takes the second code, int ``[N]``; L where none does.
        noise: The noise of each layer, ``[N, 1, h, w]``.
    """

    z: Tensor
    labels: Tensor
    crossovers: Tensor
    noise: Sequence[Tensor]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it, as `of` takes it."""
        return (self.z, self.labels, self.crossovers, *self.noise)

    @classmethod
    def of(cls, z: Tensor, labels: Tensor, crossovers: Tensor, *noise: Tensor) -> "Latents":
        """The latents of given `tensors`."""
        return cls(z=z, labels=labels, crossovers=crossovers, noise=noise)

    def split(self, size: int) -> list["Latents"]:
        """The latents of micro-batches of at most ``size`` images, in their order."""
        parts = zip(*(tensor.split(size) for tensor in self.tensors), strict=True)
        return [Latents.of(*tensors) for tensors in parts]


def labels_of(batch: dict[str, Tensor], network: Any) -> Tensor:
    """Labels of a batch's classes for G or D, ``[N, c_dim]``; ``[N, 0]`` where it takes none."""
    classes = getattr(network, "c_dim", 0)
    if not classes:
        return one_hot(batch["image"], 0)
    return one_hot(batch["class"], classes).to(next(network.parameters()))


def draw_labels(generator: Any, count: int, *, rng: torch.Generator) -> Tensor:
    """Labels of classes drawn evenly, ``[count, c_dim]`` on G's device; none where G takes none."""
    classes = getattr(generator, "c_dim", 0)
    place: Any = {"generator": rng, "device": rng.device}
    drawn = torch.randint(0, classes, (count,), **place) if classes else torch.zeros(count)
    return one_hot(drawn, classes).to(generator.w_avg)


def draw_latents(
    generator: Any, labels: Tensor, *, style_mixing: float, rng: torch.Generator
) -> Latents:
    """Draws what an image of each label is made from.

    Args:
        generator: G, which says how much there is to draw.
        labels: Of the images, ``[N, c_dim]``; ``[N, 0]`` where G takes none.
        style_mixing: Probability that an image takes its later layers from a second code.
        rng: Where the numbers come from; G takes them wherever it is.
    """
    count = len(labels)
    place: dict[str, Any] = {"generator": rng, "device": rng.device}
    z = torch.randn(2 * count, generator.z_dim, **place)
    mixed = torch.rand(count, **place) < style_mixing
    crossovers = torch.randint(1, generator.num_layers, (count,), **place)
    # Noise last and layer by layer: the numbers that the synthesis would draw from rng by itself.
    dtype = generator.w_avg.dtype
    noise = [torch.randn(count, 1, *size, dtype=dtype, **place) for size in generator.noise_shapes]
    crossovers = torch.where(mixed, crossovers, generator.num_layers)
    drawn = (z.view(2, count, -1).transpose(0, 1), labels, crossovers, *noise)
    return Latents.of(*(tensor.to(generator.w_avg.device) for tensor in drawn))


def mixed_codes(generator: Any, latents: Latents) -> tuple[Tensor, Tensor]:
    """Maps latents to the codes of all layers.

    Args:
        generator: G with its M.
        latents: Of N images.

    Returns:
        The codes ``[N, L, w_dim]``, and those that the first z alone gives, of the same shape.
    """
    z = latents.z.transpose(0, 1).flatten(0, 1)  # [2 * N, z_dim], all first codes, then all second
    labels = latents.labels.repeat(2, 1)  # an image takes all its layers from one class
    first, second = mapped(generator, z, labels).split(len(latents.z))  # each [N, L, w_dim]
    layer = torch.arange(generator.num_layers, device=z.device)
    from_first = (layer < latents.crossovers[:, None])[..., None]  # [N, L, 1]
    return torch.where(from_first, first, second), first
