"""Places drawn at random, the same on every machine and with every version of every library."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def draw(count: int, *, below: int, words: str) -> list[int]:
    """The first distinct numbers of the endless sequence that `words` stand for.

    Number 4b + j is bytes 8j to 8j + 7, big end first, of the SHA-256 of "words/b", modulo
    `below` (at 2^64 its bias is of no account). A smaller count is the beginning of a larger one.

    Args:
        count: How many.
        below: Numbers are 0 to below - 1.
        words: Names the sequence, for instance `idinvert/lsun_tower/train`.

    Returns:
        In the order of the draw.

    Raises:
        ValueError: There are not that many numbers.
    """
    if not 0 <= count <= below:
        raise ValueError(f"cannot draw {count} distinct numbers below {below}")
    drawn: dict[int, None] = {}
    block = 0
    while len(drawn) < count:
        digest = hashlib.sha256(f"{words}/{block}".encode()).digest()
        for start in range(0, len(digest), 8):
            drawn.setdefault(int.from_bytes(digest[start : start + 8], "big") % below)
        block += 1
    return list(drawn)[:count]


def digest_of(*parts: Sequence[int]) -> str:
    """SHA-256, hex, of lists of places: one a line in decimal, an empty line after each list."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update("".join(f"{place}\n" for place in part).encode() + b"\n")
    return digest.hexdigest()
