"""What is known of an image that is to be restored: φ, on both sides of the loss of Eq. (4)."""

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
    """φ, from images to what is observed of them; this one observes everything.

    φ is linear, or constant where it observes nothing.

    Attributes:
        share: what means over all elements of an observation are divided by, or [N] of them.
    """

    share: Tensor | float = 1.0

    def like(self, images: Tensor) -> "Observation":
        """The same on the device and in the dtype of images; itself where it is so already."""
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
        """The same of some of the images."""
        return self

    def seen(self, images: Tensor) -> Tensor:
        """φ(x).

        Args:
            images: [N, 3, R, R] in [-1, 1].

        Returns:
            [N, ...], on the scale of the images: the mean square of a random difference is kept.
        """
        return images

    def lifted(self, seen: Tensor) -> Tensor:
        """An image [N, 3, R, R] with this observation: φ(lifted(y)) = y; linear in y."""
        return seen

    def picture(self, seen: Tensor) -> Tensor:
        """The image [N, 3, R, R] of an observation that F compares; linear in y."""
        return self.lifted(seen)

    def start(self, seen: Tensor) -> Tensor:
        """The image [N, 3, R, R] that E is given; its observation is y too."""
        return self.kept(self.picture(seen), seen)

    def kept(self, images: Tensor, seen: Tensor) -> Tensor:
        """Images [N, 3, R, R] with what is known put in: x + lifted(y - φ(x))."""
        return images + self.lifted(seen - self.seen(images))


@dataclass(eq=False)
class Region(Observation):
    """A part of the images, where the rest is of one colour.

    Attributes:
        mask: 1 inside, 0 outside, float [N, 1, R, R], or [1, 1, R, R] for all.
        fill: the value that the images take outside.
        share: the mask's share of the image, where a term shall be a mean over the inside.
    """

    mask: Tensor
    fill: float
    share: Tensor | float

    def at(self, rows: Rows) -> "Observation":
        """With their masks, where they have some of their own."""
        if rows is None or len(self.mask) == 1:
            return self
        return Region(at(self.mask, rows), self.fill, at(self.share, rows))

    def seen(self, images: Tensor) -> Tensor:
        """Images as they are where the mask is 1, and of one colour where it is 0."""
        return images * self.mask + self.fill * (1 - self.mask)

    def start(self, seen: Tensor) -> Tensor:
        """The rest filled in smoothly."""
        return least_variation(self, seen)


class Luma(Observation):
    """The grey image Y of a colour image, [N, 1, R, R]."""

    def __init__(self) -> None:
        self.weights = torch.tensor(LUMA, dtype=torch.float64)

    def seen(self, images: Tensor) -> Tensor:
        """Y = 0.299 R + 0.587 G + 0.114 B."""
        return (images * self.weights.view(3, 1, 1)).sum(1, keepdim=True)

    def lifted(self, seen: Tensor) -> Tensor:
        """Grey as RGB; a difference of it changes Y and neither Cb nor Cr."""
        return seen.expand(-1, 3, -1, -1)


class LowResolution(Observation):
    """Means over squares of factor × factor pixels, [N, 3, R / factor, R / factor].

    Args:
        factor: a divisor of R.
    """

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def seen(self, images: Tensor) -> Tensor:
        """The image reduced by area averages."""
        return functional.avg_pool2d(images, self.factor)

    def lifted(self, seen: Tensor) -> Tensor:
        """Every pixel repeated: R² / (R / factor)² times φᵀ."""
        return seen.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)

    def picture(self, seen: Tensor) -> Tensor:
        """Enlarged with bicubic interpolation."""
        size = [side * self.factor for side in seen.shape[-2:]]
        return functional.interpolate(seen, size=size, mode="bicubic", align_corners=False)


class Projection(Observation):
    """A random projection Φ of the pixels with orthonormal rows, [N, m]: compressive sensing.

    Signs are flipped at random, pixels of all channels are permuted, each third goes through a
    Walsh-Hadamard transform, and m of its values at random are kept. So ΦΦᵀ = 1, Φᵀ is the
    pseudo-inverse, and a product takes R² log R steps.

    Args:
        resolution: R, a power of 2.
        ratio: m over 3R², in (0, 1].
        seed: of what is random.
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
        """The smoothest image with these measurements."""
        return least_variation(self, seen)


def hadamard(x: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform along the last dimension, its own inverse.

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
    """The image of least total variation with an observation, [N, 3, R, R].

    Steps down the gradient of Σ √(|∇x|² + ε), each followed by the projection onto the images with
    this observation. What restores an image without any knowledge of its domain.

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
    """A method that also inverts what is observed of images: it heeds `Request.observation`."""

    encoder: nn.Module | None = None

    def restore(self, images: Tensor, *, observation: Observation, **given: Any) -> Inversion:
        """Minimise the method's loss of φ(x) and φ(G(w)), of which φ(x) alone is known.

        F compares the pictures of both observations. E starts from an image of one, see
        `Observation.start`, and its regulariser is that of whole images.

        Args:
            images: x, float [N, 3, R, R] in [-1, 1].
            observation: φ, on their device and in their dtype.
            given: see `Inverter.invert`.

        Source: Gu et al. 2020 (arXiv 1912.07116), Sec. 3.2, for the losses.
        """
        with gradients():
            seen = observation.seen(plain(images))
            known = observation.lifted(seen) if self.encoder is None else observation.start(seen)
        return self._invert(Request(known, observation=observation, **given))


class Restoring(Method):
    """A method of restoration as an `Inverter`: of the images, it sees φ(x).

    Args:
        method: the method, with `restore`.
        observation: φ.
    """

    def __init__(self, method: Any, observation: Observation) -> None:
        self.method, self.observation = method, observation
        self.settings: dict[str, Any] = method.settings  # the observation is the task's choice

    @property
    def networks(self) -> Sequence[nn.Module]:
        """Those of the method."""
        return self.method.networks

    def _run(self, asked: Request) -> Inversion:
        """Restore a batch."""
        self.observation = self.observation.like(asked.images)
        given = {name: getattr(asked, name) for name in ("generator", "ids", "progress")}
        return self.method.restore(asked.images, observation=self.observation, **given)
