"""Observations φ of images to restore, which are applied to both sides of the loss of Eq. (4)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from idinvert.inversion.inversion import Inversion, Method, Request
from idinvert.inversion.working_set import Rows, at, gradients, plain

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in Y (ITU-R BT.601)."""
PLAIN_STEPS, PLAIN_LR = 200, 0.2


class Observation:
    """φ, which maps images to what is observed of them; this one observes everything.

    φ is linear, or constant where it observes nothing.

    Attributes:
        share: divisor of the loss terms, which are means over all elements; a number or [N].
    """

    share: Tensor | float = 1.0

    def like(self, images: Tensor) -> "Observation":
        """Return a copy with the device and dtype of images, or itself if it already has them."""
        held = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved = {
            name: value.to(images) if value.is_floating_point() else value.to(images.device)
            for name, value in held.items()
        }
        if all(moved[name] is value for name, value in held.items()):
            return self
        other = copy.copy(self)
        vars(other).update(moved)
        return other

    def at(self, rows: Rows) -> "Observation":
        """Return the observation of the given images alone."""
        return self

    def seen(self, images: Tensor) -> Tensor:
        """Return φ(x).

        Args:
            images: [N, 3, R, R] in [-1, 1].

        Returns:
            [N, ...], on the scale of the images: the mean square of a random difference is kept.
        """
        return images

    def lifted(self, seen: Tensor) -> Tensor:
        """Return an image [N, 3, R, R] with this observation: φ(lifted(y)) = y; linear in y."""
        return seen

    def picture(self, seen: Tensor) -> Tensor:
        """Return the image [N, 3, R, R] of an observation that F compares; linear in y."""
        return self.lifted(seen)

    def start(self, seen: Tensor) -> Tensor:
        """Return the input of E, an image [N, 3, R, R] whose observation is y, too."""
        return self.kept(self.picture(seen), seen)

    def kept(self, images: Tensor, seen: Tensor) -> Tensor:
        """Replace the observed part of images [N, 3, R, R] by y: x + lifted(y - φ(x))."""
        return images + self.lifted(seen - self.seen(images))


@dataclass(eq=False)
class Region(Observation):
    """A region of the images; pixels outside have a constant value.

    Attributes:
        mask: 1 inside, 0 outside, float [N, 1, R, R], or [1, 1, R, R] for all.
        fill: the value of the pixels outside.
        share: the mask's share of the image, if terms are to be means over the inside.
    """

    mask: Tensor
    fill: float
    share: Tensor | float

    def at(self, rows: Rows) -> "Observation":
        """Return the region with the masks of the given images."""
        if rows is None or len(self.mask) == 1:
            return self
        return Region(at(self.mask, rows), self.fill, at(self.share, rows))

    def seen(self, images: Tensor) -> Tensor:
        """Keep pixels where the mask is 1; the others take the value `fill`."""
        return images * self.mask + self.fill * (1 - self.mask)

    def start(self, seen: Tensor) -> Tensor:
        """Fill the pixels outside smoothly; see `least_variation`."""
        return least_variation(self, seen)


class Luma(Observation):
    """The grey image Y of a colour image, [N, 1, R, R]."""

    def __init__(self) -> None:
        self.weights = torch.tensor(LUMA, dtype=torch.float64)

    def seen(self, images: Tensor) -> Tensor:
        """Y = 0.299 R + 0.587 G + 0.114 B."""
        return (images * self.weights.view(3, 1, 1)).sum(1, keepdim=True)

    def lifted(self, seen: Tensor) -> Tensor:
        """Repeat Y in R, G and B; adding it changes Y and neither Cb nor Cr."""
        return seen.expand(-1, 3, -1, -1)


class LowResolution(Observation):
    """Means over squares of factor × factor pixels, [N, 3, R / factor, R / factor].

    Args:
        factor: a divisor of R.
    """

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def seen(self, images: Tensor) -> Tensor:
        """Reduce the image by area averages."""
        return functional.avg_pool2d(images, self.factor)

    def lifted(self, seen: Tensor) -> Tensor:
        """Repeat every pixel: R² / (R / factor)² times φᵀ."""
        return seen.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)

    def picture(self, seen: Tensor) -> Tensor:
        """Enlarge with bicubic interpolation."""
        size = [side * self.factor for side in seen.shape[-2:]]
        return functional.interpolate(seen, size=size, mode="bicubic", align_corners=False)


class Projection(Observation):
    """A random projection Φ of the pixels with orthonormal rows, [N, m]: compressive sensing.

    Signs are flipped at random, the pixels of all channels are permuted, each third of them goes
    through a Walsh-Hadamard transform, and m random values of the result are kept. So ΦΦᵀ = 1, Φᵀ
    is the pseudo-inverse, and a product takes O(R² log R) operations.

    Args:
        resolution: R, a power of 2.
        ratio: m / 3R², in (0, 1].
        seed: seed of the random choices.
    """

    def __init__(self, *, resolution: int, ratio: float, seed: int) -> None:
        self.resolution, count = resolution, 3 * resolution**2
        rng = torch.Generator().manual_seed(seed)
        self.signs = torch.randint(0, 2, (count,), generator=rng).double() * 2 - 1
        self.order = torch.randperm(count, generator=rng)
        kept = torch.randperm(count, generator=rng)[: max(1, round(ratio * count))]
        self.rows = kept.sort().values

    def seen(self, images: Tensor) -> Tensor:
        """Φx."""
        mixed = (images.flatten(1) * self.signs)[:, self.order]  # [N, 3R²]
        return hadamard(mixed.unflatten(1, (3, -1))).flatten(1)[:, self.rows]

    def lifted(self, seen: Tensor) -> Tensor:
        """Φᵀy."""
        count = 3 * self.resolution**2
        spread = seen.new_zeros(len(seen), count).index_copy(1, self.rows, seen)
        mixed = hadamard(spread.unflatten(1, (3, -1))).flatten(1)
        pixels = torch.zeros_like(mixed).index_copy(1, self.order, mixed) * self.signs
        return pixels.unflatten(1, (3, self.resolution, self.resolution))

    def start(self, seen: Tensor) -> Tensor:
        """Return the smoothest image with these measurements; see `least_variation`."""
        return least_variation(self, seen)


def hadamard(x: Tensor) -> Tensor:
    """Apply the orthonormal Walsh-Hadamard transform along the last dimension; self-inverse.

    Args:
        x: [..., P], P a power of 2.
    """
    shape, size, step = x.shape, x.shape[-1], 1
    while step < size:
        a, b = x.reshape(*shape[:-1], -1, 2, step).unbind(-2)
        x = torch.stack([a + b, a - b], dim=-2)
        step *= 2
    return x.reshape(shape) / size**0.5


def least_variation(observation: Observation, seen: Tensor) -> Tensor:
    """Return an image of low total variation with the given observation, [N, 3, R, R].

    Projected gradient descent on Σ √(|∇x|² + ε): each step is followed by the projection onto the
    images with this observation. This restores an image without any knowledge of its domain.

    Args:
        observation: φ.
        seen: y, [N, ...].
    """
    with gradients():
        x = observation.lifted(seen)
        for step in range(PLAIN_STEPS):
            leaf = x.detach().requires_grad_()
            dx = functional.pad(leaf[..., :, 1:] - leaf[..., :, :-1], (0, 1))
            dy = functional.pad(leaf[..., 1:, :] - leaf[..., :-1, :], (0, 0, 0, 1))
            squares = (dx.square() + dy.square()).sum(1)  # [N, R, R], all channels together
            (slope,) = torch.autograd.grad((squares + 1e-4).sqrt().sum(), leaf)
            lr = PLAIN_LR * (1 - step / PLAIN_STEPS) ** 2
            x = observation.kept(leaf.detach() - lr * slope, seen)
    return x.detach()


class Restorer(Method):
    """A method that can invert observations of images: it uses `Request.observation`."""

    encoder: nn.Module | None = None

    def restore(self, images: Tensor, *, observation: Observation, **given: Any) -> Inversion:
        """Minimise the method's loss between φ(x) and φ(G(w)); of x, only φ(x) is used.

        F compares the images that `Observation.picture` makes of both observations. E encodes
        `Observation.start`, and its regulariser applies to whole images.

        Args:
            images: x, float [N, 3, R, R] in [-1, 1].
            observation: φ, with the device and dtype of the images.
            given: see `Inverter.invert`.

        Source: Gu et al. 2020 (arXiv 1912.07116), Sec. 3.2, for the losses.
        """
        with gradients():
            seen = observation.seen(plain(images))
            known = observation.lifted(seen) if self.encoder is None else observation.start(seen)
        return self._invert(Request(known, observation=observation, **given))


class Restoring(Method):
    """Wraps a restoration method as an `Inverter` that uses only φ(x) of the images.

    Args:
        method: the method; it implements `restore`.
        observation: φ.
    """

    def __init__(self, method: Any, observation: Observation) -> None:
        self.method, self.observation = method, observation
        self.settings: dict[str, Any] = method.settings  # the observation is a setting of the task

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The networks of the method."""
        return self.method.networks

    def _run(self, asked: Request) -> Inversion:
        """Restore a batch."""
        self.observation = self.observation.like(asked.images)
        given = {name: getattr(asked, name) for name in ("generator", "ids", "progress")}
        return self.method.restore(asked.images, observation=self.observation, **given)
