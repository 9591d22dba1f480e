"""Schedules and random seeds that depend on images seen (nimg), the unit of time."""

import hashlib

import torch


def passed(nimg: int, *, step: int, every: int) -> bool:
    """Returns whether the last step, of ``step`` images, reached a multiple of ``every``."""
    return nimg // every > (nimg - step) // every


def random_stream(
    *, purpose: str, seed: int, nimg: int, rank: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Returns a generator seeded from the state of training, so that resuming needs no RNG state.

    Args:
        purpose: Name of the use of the numbers; different purposes never share a stream.
        seed: The run's seed.
        nimg: Images seen before this step.
        rank: Rank of the process, where ranks must draw different numbers.
        device: Device of the generator.

    Returns:
        A freshly seeded generator.
    """
    key = f"{purpose}/{seed}/{nimg}/{rank}".encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "big") >> 1)
