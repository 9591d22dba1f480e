"""The mean of w and how far w strays from it, from samples of M."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from idinvert.inversion.starts import mapped


class CodeStatistics(NamedTuple):
    """What M's codes are like, layer by layer, float64 on the CPU.

    Attributes:
        mean: w̄, [L, w_dim].
        deviation: √ E‖w − w̄‖², the length of a typical deviation over all of w, [L].
    """

    mean: Tensor
    deviation: Tensor


@torch.no_grad()
def code_statistics(
    generator: Any, *, samples: int = 10_000, seed: int = 123, batch_size: int = 1000
) -> CodeStatistics:
    """Measure w̄ and its deviation on samples.

    Args:
        generator: frozen G; its mapping runs on its own device, in its own precision.
        samples: how many z are drawn.
        seed: of the draw; 123 and NumPy's RandomState are StyleGAN2's projector's.
        batch_size: z mapped at once.
    """
    z = torch.from_numpy(np.random.RandomState(seed).randn(samples, generator.z_dim))
    like = generator.w_avg
    with torch.autocast(like.device.type, enabled=False):
        chunks = [mapped(generator, part.to(like)).double().cpu() for part in z.split(batch_size)]
    mean = torch.stack([w.sum(0) for w in chunks]).sum(0) / samples  # [L, w_dim]
    powers = torch.stack([(w - mean).square().sum((0, 2)) for w in chunks])
    return CodeStatistics(mean, (powers.sum(0) / samples).sqrt())
