"""The procedural domains that need no download: faces, towers, bedrooms, churches.

Faces train on the first images and test on the last, as FFHQ. The others are divided as LSUN is in
the paper (Sec. 4.1): training images are drawn at random from the first 600,000 (as many as one
likes exist), test images from the rest. The draw follows from the domain's name alone.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from idinvert.data.content import default_cache_dir
from idinvert.data.domain import Domain
from idinvert.data.split import draw
from idinvert.errors import DataError
from idinvert.toy.bedrooms import BEDROOMS
from idinvert.toy.churches import CHURCHES
from idinvert.toy.faces import FACES
from idinvert.toy.rendered import RenderedSplit
from idinvert.toy.renderer import Renderer
from idinvert.toy.towers import TOWERS

FIRST = 600_000  # of a drawn domain, images 0 to FIRST - 1 are there to train on,
TESTS = 90_000  # the next to test on,
VALS = 10_000  # the last to validate on


def procedural(
    renderer: Renderer,
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
    """A procedural domain with exact labels: the embedded stand-in for FFHQ or an LSUN category.

    Image i is the same in every split and whatever the counts. Faces: 0 to train-1 train, the next
    `test` test, the next `val` validate. The others: which images train and test is a stored random
    draw, and the first n of each split are the same whatever the counts.

    Args:
        renderer: Draws the images; bound in `faces_mini`, `towers_mini` and so on.
        resolution: R, pixels; any from 8 on.
        train: Images to train on.
        test: Images the tables are measured on.
        val: Images watched during training.
        skip: The first images to train on that are left out, so as not to be rendered: a short
            run needs but a part of them, and its test images are still those of the tables.
        seed: Of the labels; another seed gives other images of the same kind.
        cache_dir: Where rendered images are kept; None: see `content.default_cache_dir`.
        masks: Whether items also carry `mask`, uint8 `[R, R]`, indices into the renderer's
            `mask_classes`.

    Raises:
        DataError: A count or the resolution makes no sense; from a split, see `RenderedSplit`.
    """
    name = renderer.name
    _check(name, resolution=resolution, train=train, test=test, val=val, skip=skip)
    identity = f"{name}/{renderer.version}/{resolution}/{seed}"
    if renderer.drawn:
        ids = _drawn_ids(name, train=train, test=test, val=val)
        identity += f"/drawn/{train}/{test}/{val}/{skip}"
    else:
        ids = list(torch.arange(train + test + val).split([train, test, val]))
        identity += f"/{train}/{test}/{val}" + (f"/{skip}" if skip else "")
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    splits = [
        RenderedSplit(
            renderer, ids=part, resolution=resolution, seed=seed, folder=folder, masks=masks
        )
        for part in (ids[0][skip:], *ids[1:])
    ]
    return Domain(
        name=name,
        resolution=resolution,
        train=splits[0],
        test=splits[1],
        val=splits[2],
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
        attributes=renderer.attributes,
    )


faces_mini = partial(procedural, FACES)
towers_mini = partial(procedural, TOWERS)
bedrooms_mini = partial(procedural, BEDROOMS)
churches_mini = partial(procedural, CHURCHES)


def _drawn_ids(name: str, *, train: int, test: int, val: int) -> list[Tensor]:
    """Images to train on, to test on and to validate on, by the stored random draw."""
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
        places = draw(count, below=there, words=f"idinvert/{name}/{key}")
        ids.append(first + torch.tensor(places, dtype=torch.int64))
    return ids


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
