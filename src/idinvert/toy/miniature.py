"""The procedural domains that need no download: faces, towers, bedrooms, churches.

Faces train on the first images and test on the last, as FFHQ. The others are divided as LSUN is in
the paper (Sec. 4.1): training images are drawn at random from the first 600,000 (as many as one
likes exist), test images from the rest. The draw follows from the domain's name alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from idinvert.data.cache import default_cache_dir
from idinvert.data.domain import Domain
from idinvert.data.draws import draw
from idinvert.errors import DataError
from idinvert.toy.bedrooms import BEDROOMS
from idinvert.toy.churches import CHURCHES
from idinvert.toy.faces import FACES
from idinvert.toy.rendered import RenderedSplit
from idinvert.toy.renderer import Renderer
from idinvert.toy.towers import TOWERS

FIRST = 600_000  # images 0 to FIRST - 1 are there to train on,
TESTS = 90_000  # the next to test on,
VALS = 10_000  # the last to validate on


def faces_mini(
    *,
    resolution: int,
    train: int = 65_000,
    test: int = 5_000,
    val: int = 500,
    skip: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    masks: bool = False,
) -> Domain:
    """Procedural faces with exact labels: the embedded stand-in for FFHQ.

    Image i is the same whatever the counts: 0 to train-1 train, the next `test` test, the next
    `val` validate.

    Args:
        resolution: R, pixels; any from 8 on.
        train: Images to train on.
        test: Images the tables are measured on.
        val: Images watched during training.
        skip: The first images to train on that are left out, so as not to be rendered: a short
            run needs but a part of them, and its test images are still those of the tables.
        seed: Of the labels; another seed gives other faces of the same kind.
        cache_dir: Where rendered images are kept; None: see `cache.default_cache_dir`.
        masks: Whether items also carry `mask`, uint8 `[R, R]`, indices into `faces.MASK_CLASSES`.

    Raises:
        DataError: A count or the resolution makes no sense; from a split, see `RenderedSplit`.
    """
    name, version = FACES.name, FACES.version
    _check(name, resolution=resolution, train=train, test=test, val=val, skip=skip)
    ids = torch.arange(skip, train + test + val).split([train - skip, test, val])
    identity = f"{name}/{version}/{resolution}/{seed}/{train}/{test}/{val}"
    if skip:
        identity += f"/{skip}"
    return _domain(
        FACES,
        ids,
        identity=identity,
        resolution=resolution,
        seed=seed,
        cache_dir=cache_dir,
        masks=masks,
    )


def towers_mini(
    *,
    resolution: int,
    train: int = 65_000,
    test: int = 5_000,
    val: int = 500,
    skip: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    masks: bool = False,
) -> Domain:
    """Procedural towers with exact labels: the embedded stand-in for LSUN tower.

    Which images train and test is a stored random draw. The first n of each split are the same
    whatever the counts, and image i is the same in all splits.

    Args: as `faces_mini`.

    Raises:
        DataError: A count or the resolution makes no sense; from a split, see `RenderedSplit`.
    """
    counts = {"train": train, "test": test, "val": val, "skip": skip}
    return _drawn(TOWERS, resolution, counts, seed=seed, cache_dir=cache_dir, masks=masks)


def bedrooms_mini(
    *,
    resolution: int,
    train: int = 65_000,
    test: int = 5_000,
    val: int = 500,
    skip: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    masks: bool = False,
) -> Domain:
    """Procedural bedrooms with exact labels: the embedded stand-in for LSUN bedroom.

    Args: as `towers_mini`.

    Raises:
        DataError: A count or the resolution makes no sense; from a split, see `RenderedSplit`.
    """
    counts = {"train": train, "test": test, "val": val, "skip": skip}
    return _drawn(BEDROOMS, resolution, counts, seed=seed, cache_dir=cache_dir, masks=masks)


def churches_mini(
    *,
    resolution: int,
    train: int = 65_000,
    test: int = 5_000,
    val: int = 500,
    skip: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    masks: bool = False,
) -> Domain:
    """Procedural churches with exact labels: the embedded stand-in for LSUN church.

    Args: as `towers_mini`.

    Raises:
        DataError: A count or the resolution makes no sense; from a split, see `RenderedSplit`.
    """
    counts = {"train": train, "test": test, "val": val, "skip": skip}
    return _drawn(CHURCHES, resolution, counts, seed=seed, cache_dir=cache_dir, masks=masks)


def _drawn(
    renderer: Renderer,
    resolution: int,
    counts: dict[str, int],
    *,
    seed: int,
    cache_dir: str | Path | None,
    masks: bool,
) -> Domain:
    """A domain divided by the stored random draw."""
    name, version = renderer.name, renderer.version
    _check(name, resolution=resolution, **counts)
    train, test, val, skip = (counts[key] for key in ("train", "test", "val", "skip"))
    ids = []
    parts = (
        ("train", train, 0, FIRST),
        ("test", test, FIRST, TESTS),
        ("val", val, FIRST + TESTS, VALS),
    )
    for key, count, first, there in parts:
        if count > there:
            raise DataError(
                f"{name}: got {count} images, expected {there} or fewer; change `data.{key}`"
            )
        drawn = draw(count, below=there, words=f"idinvert/{name}/{key}")
        ids.append(first + torch.tensor(drawn, dtype=torch.int64))
    identity = f"{name}/{version}/{resolution}/{seed}/drawn/{train}/{test}/{val}/{skip}"
    return _domain(
        renderer,
        [ids[0][skip:], *ids[1:]],
        identity=identity,
        resolution=resolution,
        seed=seed,
        cache_dir=cache_dir,
        masks=masks,
    )


def _domain(
    renderer: Renderer,
    ids: Sequence[Tensor],
    *,
    identity: str,
    resolution: int,
    seed: int,
    cache_dir: str | Path | None,
    masks: bool,
) -> Domain:
    """A domain of the images to train on, to test on and to validate on."""
    train, test, val = (
        RenderedSplit(
            renderer,
            ids=part,
            resolution=resolution,
            seed=seed,
            folder=_folder(cache_dir),
            masks=masks,
        )
        for part in ids
    )
    return Domain(
        name=renderer.name,
        resolution=resolution,
        train=train,
        test=test,
        val=val,
        fingerprint=_fingerprint(identity),
        attributes=renderer.attributes,
    )


def _check(name: str, *, resolution: int, train: int, test: int, val: int, skip: int) -> None:
    if resolution < 8:
        raise DataError(
            f"{name}: got resolution {resolution}, expected 8 or more; change `data.resolution`"
        )
    for key, count in (("train", train), ("test", test), ("val", val)):
        if count < 0:
            raise DataError(f"{name}: got {count} images, expected 0 or more; change `data.{key}`")
    if not 0 <= skip <= train:
        raise DataError(
            f"{name}: got skip {skip}, expected 0 to {train} (`data.train`); change `data.skip`"
        )


def _folder(cache_dir: str | Path | None) -> Path:
    return Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()


def _fingerprint(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
