"""Panel: the way from one fixed image to another through their inverted codes (Sec. 4.3)."""

from typing import Any

import torch
from torch import Tensor

from idinvert.editing.interpolate import inner_steps, interpolate
from idinvert.training.callbacks.panel import Draw
from idinvert.training.panels.fixed import FixedImages, Noise, synthesised


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
    return [torch.lerp(maps[:1], maps[-1:] if len(maps) == 1 else maps[1:2], weights.to(maps))
            for maps in noise]  # fmt: skip
