"""Panel: original, what the encoder makes of it, and its in-domain inversion (Sec. 3)."""

from typing import Any

import torch
from torch import Tensor

from idinvert.data.convert import to_uint8
from idinvert.training.callbacks.panel import Draw
from idinvert.training.panels.fixed import FixedImages


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
