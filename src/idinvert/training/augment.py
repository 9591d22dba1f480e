"""Adaptive discriminator augmentation: D sees augmented images only, as often as needed."""

import math
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from idinvert.annotations import PositiveInt, Share, Written
from idinvert.errors import ConfigError, require_number
from idinvert.training.augment_maps import Augmentations, Draws, draw_colours, draw_plane
from idinvert.training.augment_sampling import Augmenter


class AdaptiveAugment(nn.Module):
    """Augments all images that D sees, real and fake, with a probability set by D's overfitting.

    A D that has memorised the training images classifies nearly all of them as real. When the mean
    sign of D(x) over training images is above the target, the probability p of each operation
    rises; when below, it falls. As long as p is below one, G learns unaugmented images.

    Args:
        resolution: Side length in pixels.
        p: Initial probability of each operation, in [0, 1]; constant with ``target=None``.
        target: Target for the mean sign of D(x), in [-1, 1]; None for a fixed p.
        ramp_nimg: Number of images in which p would rise from 0 to 1 without a pause.
        every: Steps between two updates of p.
        pipe: Groups of operations to apply: b (mirroring, quarter turns, translation by whole
            pixels), g (scaling, rotation, stretching, translation), c (brightness, contrast, luma
            flip, hue, saturation).

    Raises:
        ConfigError: A number is out of range, or ``pipe`` contains another letter.

    Source:
        Karras et al. 2020, Training Generative Adversarial Networks with Limited Data
        (arXiv 2006.06676), Sec. 3 and Appendix B.
    """

    def __init__(
        self,
        *,
        resolution: int,
        p: Share = 0.0,
        target: Annotated[float, Ge(-1), Le(1)] | None = 0.6,
        ramp_nimg: PositiveInt = 500_000,
        every: PositiveInt = 4,
        pipe: Annotated[str, Written("[bgc]+", "letters of bgc")] = "bgc",
    ) -> None:
        super().__init__()
        require_number("augment.p", p, low=0, high=1)
        if target is not None:
            require_number("augment.target", target, low=-1, high=1)
        require_number("augment.ramp_nimg", ramp_nimg, low=1)
        require_number("augment.every", every, low=1, whole=True)
        if not isinstance(pipe, str) or not pipe or set(pipe) - set("bgc"):
            raise ConfigError(
                f"got augment.pipe={pipe!r}, expected letters of 'bgc'; change augment.pipe, or "
                "leave augmentation out with augment=none"
            )
        self.p, self.target = float(p), target
        self.ramp_nimg, self.every, self.pipe = ramp_nimg, every, pipe
        self.augmenter = Augmenter(resolution=resolution)
        self._signs: list[Tensor | float] = []  # one per step since the last update of p

    def get_extra_state(self) -> dict[str, Any]:
        """Returns p and the signs since its last update, for ``state_dict``."""
        return {"p": self.p, "signs": [float(sign) for sign in self._signs]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restores both from ``load_state_dict``."""
        self.p = float(state["p"])
        self._signs = [float(sign) for sign in state["signs"]]

    def draw(self, count: int, *, rng: torch.Generator) -> Augmentations:
        """Draws the augmentations of ``count`` images.

        Args:
            count: Number of images.
            rng: Random generator on the CPU.
        """
        draws = Draws(count, rng)
        plane, resampled = draw_plane(
            draws, p=self.p, resolution=self.augmenter.resolution, pipe=self.pipe
        )
        colours = draw_colours(draws, p=self.p, pipe=self.pipe)
        return Augmentations(plane=plane, resampled=resampled, colours=colours)

    def forward(self, images: Tensor, augmentations: Augmentations) -> Tensor:
        """Augments images ``[N, 3, R, R]`` in [-1, 1]; returns them unchanged at p = 0."""
        return images if self.p == 0 else self.augmenter(images, augmentations)

    def follow(self, sign: Tensor, *, step_images: int) -> None:
        """Records one step and updates p every ``every`` steps.

        Args:
            sign: Mean sign of D(x) over the augmented training images of the step, over all ranks.
            step_images: Number of images in a step, over all ranks.

        Source:
            r_t of Karras et al. 2020, Eq. (1), with the rule of Sec. 3.1.

        Differs from the paper:
            p is capped at one.
        """
        if self.target is None:
            return
        self._signs.append(sign.detach())
        if len(self._signs) < self.every:
            return
        excess = sum(float(sign) for sign in self._signs) / self.every - self.target
        self._signs = []
        step = self.every * step_images / self.ramp_nimg
        direction = math.copysign(1, excess) if excess else 0.0
        self.p = min(1.0, max(0.0, self.p + direction * step))
