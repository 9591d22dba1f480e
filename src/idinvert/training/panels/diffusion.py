"""Panel: a crop of one fixed image grown into the context of another (Sec. 4.3)."""

from typing import Any

import torch
from torch import Tensor

from idinvert.data.convert import to_uint8
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.masks import paste
from idinvert.training.callbacks.panel import Draw
from idinvert.training.panels.fixed import FixedImages


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
