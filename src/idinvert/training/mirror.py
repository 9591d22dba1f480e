"""Left-right flips that follow from where training stands."""

import torch
from torch import Tensor

from idinvert.training.clock import random_stream


def mirror_at_random(images: Tensor, *, seed: int, nimg: int, rank: int, world_size: int) -> Tensor:
    """Flips each image with probability one half.

    The coins of the whole global batch are thrown on every rank and each takes its slice, so two
    ranks flip the images that one rank would.

    Args:
        images: ``[n, 3, H, W]``, this rank's share.
        seed: The run's seed.
        nimg: Images seen before this step.
        rank: This process.
        world_size: Number of processes.

    Returns:
        ``[n, 3, H, W]``.
    """
    count = len(images)
    stream = random_stream(purpose="mirror", seed=seed, nimg=nimg)
    coins = torch.randint(0, 2, (count * world_size,), generator=stream)
    flipped = (coins[rank * count : (rank + 1) * count] == 0).to(images.device).view(-1, 1, 1, 1)
    return torch.where(flipped, images.flip(-1), images)
