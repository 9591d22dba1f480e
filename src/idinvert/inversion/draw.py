"""Random numbers that belong to an image, not to its place in a batch."""

import zlib

import numpy as np
import torch
from torch import Tensor

from idinvert.errors import ConfigError


def image_rng(seed: int, image_id: int, *, purpose: str | None = None) -> torch.Generator:
    """A CPU generator that depends on the seed, the image and what it is for.

    Args:
        seed: the experiment's seed.
        image_id: stable id of the image.
        purpose: keeps draws apart that have nothing to do with one another; None for noise maps.
    """
    words = [seed, image_id % 2**63]
    if purpose is not None:
        words.append(zlib.crc32(purpose.encode()))
    state = np.random.SeedSequence(words).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def require_ids(ids: Tensor | None, *, key: str) -> Tensor:
    """The image ids, for a draw.

    Args:
        ids: int64 [N], or None.
        key: what is drawn, for the error: "inversion.noise=random draws noise".

    Raises:
        ConfigError: there are none.
    """
    if ids is None:
        raise ConfigError(f"{key} by image id, but no ids were given")
    return ids


def seed_of(seed: int, *, drawn: bool) -> dict[str, int]:
    """The seed as a setting, where something is drawn: elsewhere it changes no result."""
    return {"seed": seed} if drawn else {}
