"""Images seen (nimg), the unit of time, as a condition and as a seed."""

import hashlib

import torch


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
