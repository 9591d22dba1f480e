"""How the paper divides its data sets: which places train, validate and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from idinvert.data.split import Places, draw
from idinvert.errors import DataError


@dataclass(frozen=True)
class Published:
    """How one data set is divided (Sec. 4.1). Places count from 0 in the order of names or keys.

    Attributes:
        name: The domain's name.
        title: For people.
        images: How many there are.
        first: Training images are among the first so many, test images among the others.
        train: Training images.
        test: Test images.
        drawn: Whether they are drawn at random, or the first and the last are taken.
        digest: `digest_of` the sorted training and test places.
    """

    name: str
    title: str
    images: int
    first: int
    train: int
    test: int
    drawn: bool
    digest: str

    def places(self, *, images: int, train: int, test: int, val: int) -> Places:
        """Divides `images` places, of which there are at least `train + test`.

        Validation images come after the training images, of the draw or of the order; where there
        are not as many, they are the last of the training images, which stay training images.
        """
        first = min(self.first, images - test)
        if self.drawn:
            words = f"idinvert/{self.name}"
            pool = draw(min(train + val, first), below=first, words=f"{words}/train")
            tests = draw(test, below=images - first, words=f"{words}/test")
            tests = sorted(first + place for place in tests)
        else:
            pool, tests = list(range(min(train + val, first))), list(range(images - test, images))
        held = pool[train:] if len(pool) == train + val else pool[:train][-val:]
        places = Places(sorted(pool[:train]), sorted(held) if val else [], tests)
        whole = (images, train, test) == (self.images, self.train, self.test)
        if whole and digest_of(places.train, places.test) != self.digest:
            raise DataError(f"{self.title}: this machine draws another split than the stored one")
        return places


FFHQ = Published(
    name="ffhq256",
    title="FFHQ",
    images=70_000,
    first=65_000,
    train=65_000,
    test=5_000,
    drawn=False,
    digest="89d4262702316af2b0e7f09e14b1d333a315fc6ce222bf54b98078e23868d3b0",
)
TOWER = Published(
    name="lsun_tower256",
    title="LSUN tower",
    images=708_264,
    first=600_000,
    train=100_000,
    test=5_000,
    drawn=True,
    digest="d7fb75e6b70b9f0f7767765dfcfb7c7868eebacb855b1cad538d126376814149",
)
BEDROOM = Published(
    name="lsun_bedroom256",
    title="LSUN bedroom",
    images=3_033_042,
    first=600_000,
    train=100_000,
    test=5_000,
    drawn=True,
    digest="cbb1221c25a862797f9349d3642a62afdc50718f38fcf468e8bf24fd7021c2a2",
)
CHURCH = Published(
    name="lsun_church256",
    title="LSUN church",
    images=126_227,
    first=120_000,
    train=100_000,
    test=5_000,
    drawn=True,
    digest="03d06870d9a6edb2daa79ca452f4e64c53bd21a93adfca2db1d79077417bf95f",
)
PUBLISHED = {one.name: one for one in (FFHQ, TOWER, BEDROOM, CHURCH)}


def digest_of(*parts: Sequence[int]) -> str:
    """SHA-256, hex, of lists of places: one a line in decimal, an empty line after each list."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update("".join(f"{place}\n" for place in part).encode() + b"\n")
    return digest.hexdigest()
