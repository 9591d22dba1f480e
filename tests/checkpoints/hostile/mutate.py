"""Seeded damage: what disks, downloads and people with time do to a file."""

import random

_TELLING = (0, 1, 0x7F, 0x80, 0xFF, *b"(.}])tRbcqhQXBN\x81\x85\x8a\x8b\x8d\x93")  # fmt: skip


def mutate(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """A damaged copy; one to four wounds.

    Args:
        content: The file.
        other: Another file, for grafts.
        rng: Draws everything.
    """
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        rng.choice(_WOUNDS)(changed, other, rng)
    return bytes(changed)


def _flip(changed: bytearray, other: bytes, rng: random.Random) -> None:
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)


def _early_flip(changed: bytearray, other: bytes, rng: random.Random) -> None:
    changed[rng.randrange(min(400, len(changed)))] ^= 1 << rng.randrange(8)


def _telling(changed: bytearray, other: bytes, rng: random.Random) -> None:
    changed[rng.randrange(len(changed))] = rng.choice(_TELLING)


def _cut(changed: bytearray, other: bytes, rng: random.Random) -> None:
    del changed[rng.randrange(len(changed)) :]


def _gap(changed: bytearray, other: bytes, rng: random.Random) -> None:
    at = rng.randrange(len(changed))
    del changed[at : at + rng.randrange(1, 64)]


def _insert(changed: bytearray, other: bytes, rng: random.Random) -> None:
    at = rng.randrange(len(changed))
    changed[at:at] = rng.randbytes(rng.randrange(1, 16))


def _repeat(changed: bytearray, other: bytes, rng: random.Random) -> None:
    at, size = rng.randrange(len(changed)), rng.randrange(1, 200)
    changed[at:at] = changed[at : at + size] * rng.choice((1, 2, 50))


def _graft(changed: bytearray, other: bytes, rng: random.Random) -> None:
    start, size = rng.randrange(len(other)), rng.randrange(1, 400)
    at = rng.randrange(len(changed))
    changed[at : at + rng.choice((0, size))] = other[start : start + size]


def _number(changed: bytearray, other: bytes, rng: random.Random) -> None:
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice(
        (0, 1, (1 << 8 * width) - 1, 1 << (8 * width - 1), rng.getrandbits(8 * width))
    )
    at = rng.randrange(len(changed))
    changed[at : at + width] = value.to_bytes(width, "little")


_WOUNDS = (
    _flip, _flip, _early_flip, _early_flip, _telling, _telling, _cut, _gap, _insert, _repeat,
    _graft, _number, _number,
)  # fmt: skip
