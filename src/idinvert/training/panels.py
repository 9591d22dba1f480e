"""Image panels of a training run: rows that show the same images and results computed from them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.convert import to_float, to_uint8
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.directions import Direction
from idinvert.editing.edits import inner_steps, interpolate, manipulate
from idinvert.editing.masks import paste
from idinvert.inversion.initialization import mapped
from idinvert.inversion.inversion import Inversion
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.networks.mapping import one_hot

STEPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
Noise = list[Tensor] | None
"""Noise maps of a batch of images, each [m, 1, h, w]; None for G's own."""


class FixedImages:
    """The first images of a data set, and their in-domain inversions, computed once per round.

    Panels share the inversions: the first panel at a number of images seen computes them.

    Args:
        dataset: Items with `image` and `id`.
        count: Maximum number of images.
        steps: Adam steps of an inversion.
        lambda_vgg: Weight of F; ignored if the module has no F.
    """

    def __init__(
        self, dataset: Dataset, *, count: int = 8, steps: int = 20, lambda_vgg: float = 5e-5
    ) -> None:
        there = len(dataset)  # type: ignore[arg-type]
        items = [dataset[index] for index in range(min(count, there))]
        self.images = torch.stack([item["image"] for item in items])  # uint8 [N, 3, R, R]
        self.ids = [int(item["id"]) for item in items]
        self.steps, self.lambda_vgg = steps, lambda_vgg
        self._made: tuple[int, Inversion] | None = None

    def named(self, strips: Tensor) -> dict[str, Tensor]:
        """Maps the caption of each image, ``image <id>``, to its strip in ``[N, ...]``."""
        return {f"image {name}": strip for name, strip in zip(self.ids, strips, strict=True)}

    def inputs(self, module: Any) -> Tensor:
        """Returns the images as input of the networks: float [N, 3, R, R] in [-1, 1]."""
        return to_float(self.images.to(module.device)).to(module.dtype)

    def settings(self, module: Any) -> dict[str, Any]:
        """Returns the arguments shared by the inverters of all panels."""
        perceptual = getattr(module, "perceptual", None)
        return {
            "encoder": module.encoder,
            "perceptual": perceptual,
            "latent": getattr(module.encoder, "code_space", "w_plus"),
            "lambda_vgg": 0.0 if perceptual is None else self.lambda_vgg,
            "steps": self.steps,
        }

    def inverted(self, module: Any) -> Inversion:
        """Returns the inversions with the module's current weights, in evaluation mode."""
        if self._made is None or self._made[0] != module.nimg:
            inverter = InDomainInverter(**self.settings(module))
            found = inverter.invert(
                self.inputs(module), generator=module.generator, ids=torch.tensor(self.ids)
            )
            self._made = (module.nimg, found)
        return self._made[1]


def reconstruction_rows(module: Any, fixed: FixedImages) -> dict[str, Tensor]:
    """Returns input and reconstruction of each image, by caption: uint8 ``[2, 3, R, R]``."""
    reconstructions = to_uint8(module.reconstruct(fixed.inputs(module))).cpu()
    return fixed.named(torch.stack([fixed.images, reconstructions], dim=1))


def sample_rows(module: Any, *, count: int = 32, seed: int = 0) -> dict[str, Tensor]:
    """Returns samples of the averaged generator at fixed codes: uint8 ``[count, 3, R, R]``.

    Samples of a conditional generator cycle through the classes.
    """
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(count, module.average.z_dim, generator=rng).to(module.device, module.dtype)
    classes = module.average.c_dim
    labels = one_hot(torch.arange(count, device=z.device) % max(1, classes), classes)
    codes = mapped(module.average, z, labels.to(z))
    images = module.average.synthesis(codes, noise="const")
    return {f"{count} samples, seed {seed}": to_uint8(images).cpu()}


def inversion_rows(module: Any, fixed: FixedImages) -> dict[str, Tensor]:
    """Returns original, G(E(x)) and inversion of each image, by caption: uint8 ``[3, 3, R, R]``."""
    found = fixed.inverted(module)
    columns = [fixed.images, to_uint8(found.start_images).cpu(), to_uint8(found.images).cpu()]
    return fixed.named(torch.stack(columns, dim=1))  # [N, 3, 3, R, R]


def interpolation_rows(module: Any, fixed: FixedImages, *, steps: int = 5) -> dict[str, Tensor]:
    """Returns an interpolation between the first two images, with originals at both ends.

    Args:
        module: The training module.
        fixed: At least two images; the first two are used.
        steps: Number of images strictly between the two inversions.

    Returns:
        One caption → uint8 ``[steps + 4, 3, R, R]``: image, inversion, steps, inversion, image.
    """
    alphas = [0.0, *inner_steps(steps), 1.0]
    found = fixed.inverted(module)
    codes = interpolate(found.codes[:1], found.codes[1:2], alphas)[0]  # [S, L, w_dim]
    noise: Noise = None
    if found.noise is not None:  # interpolates the noise maps as well
        weights = torch.tensor(alphas).view(-1, 1, 1, 1)
        noise = [torch.lerp(m[:1], m[:2][-1:], weights.to(m)) for m in found.noise]
    strip = torch.cat([fixed.images[:1], synthesised(module, codes, noise), fixed.images[1:2]])
    return {f"image {fixed.ids[0]} to image {fixed.ids[1]}": strip}


def manipulation_rows(
    module: Any,
    fixed: FixedImages,
    direction: Direction,
    *,
    steps: Sequence[float] = STEPS,
    count: int = 4,
) -> dict[str, Tensor]:
    """Returns original, inversion, and the inversion edited at each step along the direction.

    Args:
        module: The training module.
        fixed: The images.
        direction: n, for this generator.
        steps: α of Eq. 5.
        count: Maximum number of images.

    Returns:
        Caption → uint8 ``[2 + S, 3, R, R]``.
    """
    words = f"{direction.name} {steps[0]:g} to {steps[-1]:g}"
    found = fixed.inverted(module)
    edited = manipulate(found.codes[:count], direction, [0.0, *steps])  # [N, 1 + S, L, w_dim]
    strips = {}
    for index, codes in enumerate(edited):
        noise = found.noise and [
            maps[min(index, len(maps) - 1)].expand(len(codes), -1, -1, -1) for maps in found.noise
        ]
        strip = torch.cat([fixed.images[index : index + 1], synthesised(module, codes, noise)])
        strips[f"image {fixed.ids[index]}, {words}"] = strip
    return strips


def diffusion_rows(module: Any, fixed: FixedImages, *, count: int = 2) -> dict[str, Tensor]:
    """Returns target, context, stitched image, its encoder reconstruction, and the diffusion.

    Args:
        module: The training module.
        fixed: At least two images; image i is the target and image i + 1 its context.
        count: Maximum number of pairs.

    Returns:
        Caption → uint8 ``[5, 3, R, R]``.
    """
    pairs = min(count, len(fixed.ids) - 1)
    inverter = DiffusionInverter(**fixed.settings(module))
    images = fixed.inputs(module)
    stitched = paste(images[:pairs], images[1 : pairs + 1], inverter.mask_for(images.shape[-1]))
    ids = torch.tensor(fixed.ids[:pairs])
    found = inverter.invert(stitched, generator=module.generator, ids=ids)
    made = [to_uint8(each).cpu() for each in (stitched, found.start_images, found.images)]
    columns = torch.stack([fixed.images[:pairs], fixed.images[1 : pairs + 1], *made], dim=1)
    names = [f"image {fixed.ids[k]} into image {fixed.ids[k + 1]}" for k in range(pairs)]
    return dict(zip(names, columns, strict=True))  # each [5, 3, R, R]


def synthesised(module: Any, codes: Tensor, noise: Noise) -> Tensor:
    """Returns G(codes) as uint8 [m, 3, R, R] on the CPU, with the given noise maps or G's own."""
    return to_uint8(module.generator.synthesis(codes, noise=noise or "const")).cpu()
