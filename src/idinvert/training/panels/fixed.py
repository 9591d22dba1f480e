"""The same few images at every panel, inverted by the encoder as it stands (Eq. 4)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.convert import to_float, to_uint8
from idinvert.inversion.inversion import Inversion
from idinvert.inversion.optimize_codes import InDomainInverter

Noise = list[Tensor] | None
"""The maps of a batch of images, each [m, 1, h, w]; None where G's own are used."""


class FixedImages:
    """The first images of a data set, and their in-domain inversions, made once a round.

    Panels that stand on the same inversions share them: whichever is drawn first at a number of
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


def synthesised(module: Any, codes: Tensor, noise: Noise) -> Tensor:
    """G(codes) as uint8 [m, 3, R, R] on the CPU, with the images' own noise maps or G's."""
    return to_uint8(module.generator.synthesis(codes, noise=noise or "const")).cpu()


def of_image(noise: Noise, index: int, change: Callable[[Tensor], Tensor]) -> Noise:
    """The noise maps of one image, [1, 1, h, w], each changed; None stays None."""
    return noise and [change(maps[min(index, len(maps) - 1)][None]) for maps in noise]
