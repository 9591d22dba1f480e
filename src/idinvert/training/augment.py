"""Adaptive discriminator augmentation: D sees augmented images only, as many as it must."""

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
    """Augments what D sees, reals and fakes alike, with a probability that follows D's overfitting.

    D that tells training images from fakes by heart calls nearly all of them real. Where the mean
    sign of D(x) over training images is above the target, the probability p of each operation
    rises, where below it falls. As long as p is below one, G learns the images as they are.

    Args:
        resolution: Pixels of a side.
        p: Probability of each operation when training starts, in [0, 1]; with ``target=None`` it
            stays.
        target: The mean sign of D(x) that p aims at, in [-1, 1]; None for a fixed p.
        ramp_nimg: Images in which p would rise from 0 to 1, going up all the time.
        every: Steps between two changes of p.
        pipe: Which operations take part: b (mirroring, quarter turns, translation by whole
            pixels), g (scaling, rotation, stretching, translation), c (brightness, contrast, luma
            flip, hue, saturation).

    Raises:
        ConfigError: A number is out of its range, or ``pipe`` has another letter.

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
        self._signs: list[Tensor | float] = []  # of the steps since p last changed

    def get_extra_state(self) -> dict[str, Any]:
        """p and the signs since it last changed, for ``state_dict``."""
        return {"p": self.p, "signs": [float(sign) for sign in self._signs]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes both back from ``load_state_dict``."""
        self.p = float(state["p"])
        self._signs = [float(sign) for sign in state["signs"]]

    def draw(self, count: int, *, rng: torch.Generator) -> Augmentations:
        """Draws how ``count`` images are augmented.

        Args:
            count: Number of images.
            rng: Where the numbers come from, on the CPU.
        """
        draws = Draws(count, rng)
        plane, resampled = draw_plane(
            draws, p=self.p, resolution=self.augmenter.resolution, pipe=self.pipe
        )
        colours = draw_colours(draws, p=self.p, pipe=self.pipe)
        return Augmentations(plane=plane, resampled=resampled, colours=colours)

    def forward(self, images: Tensor, augmentations: Augmentations) -> Tensor:
        """Augments images ``[N, 3, R, R]`` in [-1, 1]; at p = 0 gives them back as they are."""
        return images if self.p == 0 else self.augmenter(images, augmentations)

    def follow(self, sign: Tensor, *, step_images: int) -> None:
        """Takes note of one step, and every so many steps changes p.

        Args:
            sign: Mean sign of D(x) over the step's training images, augmented, of all ranks.
            step_images: Images of a step, over all ranks.

        Source:
            r_t of Karras et al. 2020, Eq. (1), and its rule in Sec. 3.1.

        Differs from the paper:
            p does not rise above one.
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
