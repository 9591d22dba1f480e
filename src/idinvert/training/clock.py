"""Images seen (nimg), the unit of time of every schedule, log, checkpoint and axis."""

import hashlib

import torch
from torch import nn


class ImageClock(nn.Module):
    """Counts the images seen by all ranks together; travels in the state dict.

    Lightning's ``global_step`` counts optimiser steps, two a batch here, and is never used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nimg = 0

    def get_extra_state(self) -> dict[str, int]:
        """The count, for ``state_dict``."""
        return {"nimg": self.nimg}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Takes the count back from ``load_state_dict``."""
        self.nimg = int(state["nimg"])


def passed(nimg: int, *, step: int, every: int) -> bool:
    """Whether the last step, of ``step`` images, reached or passed a multiple of ``every``."""
    return nimg // every > (nimg - step) // every


def random_stream(
    *, purpose: str, seed: int, nimg: int, rank: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator whose state follows from where training stands, so that resuming needs no state.

    Args:
        purpose: What the numbers are for; two purposes never share a stream.
        seed: The run's seed.
        nimg: Images seen before this step.
        rank: The process, where ranks must draw different numbers.
        device: Where the numbers are drawn.

    Returns:
        A freshly seeded generator.
    """
    key = f"{purpose}/{seed}/{nimg}/{rank}".encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "big") >> 1)
