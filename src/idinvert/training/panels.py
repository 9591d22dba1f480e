"""The pictures of a training run: rows of the same images, and of what becomes of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.convert import to_float, to_uint8
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.directions import Direction
from idinvert.editing.edits import inner_steps, interpolate, manipulate
from idinvert.editing.masks import paste
from idinvert.inversion.inversion import Inversion
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.training.callbacks.panel import Draw

STEPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
Noise = list[Tensor] | None
"""The maps of a batch of images, each [m, 1, h, w]; None where G's own are used."""


class FixedImages:
    """The first images of a data set, and their in-domain inversions, made once a round.

    Panels of the same inversions share them: whichever is drawn first at a number of
    images seen makes them.

    Args:
        dataset: Items with `image` and `id`.
        count: How many images; fewer where there are fewer.
        steps: Adam steps of an inversion.
        lambda_vgg: Weight of F; left out where the module has no F.
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

    def __len__(self) -> int:
        return len(self.ids)

    def inputs(self, module: Any) -> Tensor:
        """The images as the networks take them: float [N, 3, R, R] in [-1, 1]."""
        return to_float(self.images.to(module.device)).to(module.dtype)

    def settings(self, module: Any) -> dict[str, Any]:
        """What every inverter of a panel is built with."""
        perceptual = getattr(module, "perceptual", None)
        return {
            "encoder": module.encoder,
            "perceptual": perceptual,
            "latent": getattr(module.encoder, "code_space", "w_plus"),
            "lambda_vgg": 0.0 if perceptual is None else self.lambda_vgg,
            "steps": self.steps,
        }

    def inverted(self, module: Any) -> Inversion:
        """The images' inversions as the module stands; it must be in evaluation mode."""
        if self._made is None or self._made[0] != module.nimg:
            inverter = InDomainInverter(**self.settings(module))
            found = inverter.invert(
                self.inputs(module), generator=module.generator, ids=torch.tensor(self.ids)
            )
            self._made = (module.nimg, found)
        return self._made[1]


def reconstruction_rows(dataset: Dataset, *, count: int = 8) -> Draw:
    """Draws input and reconstruction of the first ``count`` images of ``dataset``.

    Returns:
        A function from the training module to caption (``image <id>``) → uint8 ``[2, 3, R, R]``.
    """
    items = [dataset[index] for index in range(min(count, len(dataset)))]  # type: ignore[arg-type]
    images = torch.stack([item["image"] for item in items])
    names = [f"image {item['id']}" for item in items]

    def draw(module: Any) -> dict[str, Tensor]:
        reconstructions = module.reconstruct(to_float(images.to(module.device)).to(module.dtype))
        pairs = torch.stack([images, to_uint8(reconstructions).cpu()], dim=1)  # [N, 2, 3, R, R]
        return dict(zip(names, pairs, strict=True))

    return draw


def sample_rows(*, z_dim: int, count: int = 32, seed: int = 0) -> Draw:
    """Draws what the averaged generator makes of ``count`` fixed codes.

    Returns:
        A function from the GAN's training module to one caption → uint8 ``[count, 3, R, R]``.
    """
    z = torch.randn(count, z_dim, generator=torch.Generator().manual_seed(seed))

    def draw(module: Any) -> dict[str, Tensor]:
        codes = module.average.mapping(z.to(module.device, module.dtype))
        images = module.average.synthesis(codes, noise="const")
        return {f"{count} samples, seed {seed}": to_uint8(images).cpu()}

    return draw


def inversion_rows(fixed: FixedImages) -> Draw:
    """Draws original, G(E(x)) and inversion of each image.

    Returns:
        A function from the training module to caption (``image <id>``) → uint8 ``[3, 3, R, R]``.
    """

    def draw(module: Any) -> dict[str, Tensor]:
        found = fixed.inverted(module)
        columns = [fixed.images, to_uint8(found.start_images).cpu(), to_uint8(found.images).cpu()]
        strips = torch.stack(columns, dim=1)  # [N, 3, 3, R, R]
        return {f"image {name}": strip for name, strip in zip(fixed.ids, strips, strict=True)}

    return draw


def interpolation_rows(fixed: FixedImages, *, steps: int = 5) -> Draw:
    """Draws the first image, its inversion, ``steps`` between, the second's inversion, the second.

    Args:
        fixed: Two images or more; the first two are taken.
        steps: Pictures strictly between the two inversions.

    Returns:
        A function from the training module to one caption → uint8 ``[steps + 4, 3, R, R]``.
    """
    alphas = [0.0, *inner_steps(steps), 1.0]

    def draw(module: Any) -> dict[str, Tensor]:
        found = fixed.inverted(module)
        codes = interpolate(found.codes[:1], found.codes[1:2], alphas)[0]  # [S, L, w_dim]
        between = synthesised(module, codes, _mixed(found.noise, alphas))
        strip = torch.cat([fixed.images[:1], between, fixed.images[1:2]])
        return {f"image {fixed.ids[0]} to image {fixed.ids[1]}": strip}

    return draw


def _mixed(noise: Noise, alphas: list[float]) -> Noise:
    """The noise maps between those of the first two images, a set for each weight."""
    if noise is None:
        return None
    weights = torch.tensor(alphas).view(-1, 1, 1, 1)
    return [torch.lerp(maps[:1], maps[:2][-1:], weights.to(maps)) for maps in noise]


def manipulation_rows(
    fixed: FixedImages, direction: Direction, *, steps: Sequence[float] = STEPS, count: int = 4
) -> Draw:
    """Draws original, inversion, and the inversion at each step of the direction.

    Args:
        fixed: The images.
        direction: n, for this generator.
        steps: α of Eq. 5.
        count: How many of the images.

    Returns:
        A function from the training module to caption → uint8 ``[2 + S, 3, R, R]``.
    """
    words = f"{direction.name} {steps[0]:g} to {steps[-1]:g}"

    def draw(module: Any) -> dict[str, Tensor]:
        found = fixed.inverted(module)
        alphas = [0.0, *steps]
        edited = manipulate(found.codes[:count], direction, alphas)  # [N, 1 + S, L, w_dim]
        strips = {}
        for index, codes in enumerate(edited):
            noise = of_image(found.noise, index, lambda maps: maps.expand(len(alphas), -1, -1, -1))
            images = synthesised(module, codes, noise)
            strip = torch.cat([fixed.images[index : index + 1], images])
            strips[f"image {fixed.ids[index]}, {words}"] = strip
        return strips

    return draw


def diffusion_rows(fixed: FixedImages, *, count: int = 2) -> Draw:
    """Draws target, context, the two stitched, what the encoder makes of it, and the diffusion.

    Args:
        fixed: Two images or more; image i is the target and image i + 1 its context.
        count: How many pairs.

    Returns:
        A function from the training module to caption → uint8 ``[5, 3, R, R]``.
    """
    pairs = range(min(count, len(fixed) - 1))
    ids = torch.tensor([fixed.ids[index] for index in pairs])
    names = [f"image {fixed.ids[index]} into image {fixed.ids[index + 1]}" for index in pairs]
    targets = fixed.images[: len(pairs)]
    contexts = fixed.images[1 : len(pairs) + 1]

    def draw(module: Any) -> dict[str, Tensor]:
        inverter = DiffusionInverter(**fixed.settings(module))
        images = fixed.inputs(module)
        mask = inverter.mask_for(images.shape[-1])
        stitched = paste(images[: len(pairs)], images[1 : len(pairs) + 1], mask)
        found = inverter.invert(stitched, generator=module.generator, ids=ids)
        made = (stitched, found.start_images, found.images)
        columns = [targets, contexts, *(to_uint8(one).cpu() for one in made)]
        return dict(zip(names, torch.stack(columns, dim=1), strict=True))  # each [5, 3, R, R]

    return draw


def synthesised(module: Any, codes: Tensor, noise: Noise) -> Tensor:
    """G(codes) as uint8 [m, 3, R, R] on the CPU, with the images' own noise maps or G's."""
    return to_uint8(module.generator.synthesis(codes, noise=noise or "const")).cpu()


def of_image(noise: Noise, index: int, change: Callable[[Tensor], Tensor]) -> Noise:
    """The noise maps of one image, [1, 1, h, w], each changed; None stays None."""
    return noise and [change(maps[min(index, len(maps) - 1)][None]) for maps in noise]
