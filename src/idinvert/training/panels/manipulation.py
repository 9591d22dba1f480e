"""Panel: fixed images moved along one semantic direction (Eq. 5)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from idinvert.editing.directions import Direction
from idinvert.editing.manipulate import manipulate
from idinvert.training.callbacks.panel import Draw
from idinvert.training.panels.fixed import FixedImages, of_image, synthesised

STEPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)


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
