"""The data sets of the paper with the paper's splits: FFHQ; LSUN tower, bedroom, church."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath

from idinvert.data.domain import Domain
from idinvert.data.folder import OnCorrupt, assemble
from idinvert.data.paper_splits import BEDROOM, CHURCH, FFHQ, TOWER, Published
from idinvert.data.prepared import read_prepared
from idinvert.data.source import ImageSource, open_source
from idinvert.data.split import Places
from idinvert.errors import ConfigError, DataError


def ffhq256(
    *,
    path: str | Path,
    resolution: int,
    train: int = FFHQ.train,
    test: int = FFHQ.test,
    val: int = 500,
    on_corrupt: OnCorrupt = "error",
    allow_upscale: bool = False,
    cache_dir: str | Path | None = None,
) -> Domain:
    """FFHQ: the first 65,000 images train, the last 5,000 test, in the order of names.

    Nothing is left over to validate on: the last `val` training images are watched, and are
    trained on as well. `train=64500` holds them out.

    Args:
        path: A folder, .zip or LMDB with all 70,000 images, as published or prepared.
        resolution: R, pixels.
        train: Training images. Another number than the paper's, here or in `test`, takes a part
            of whatever is there, however many images that are.
        test: Test images.
        val: Validation images.
        on_corrupt: `error` refuses damaged files, `skip` leaves them out with a warning.
        allow_upscale: Whether images smaller than R are enlarged rather than refused.
        cache_dir: Where the index of checked files is kept; None: see `content.default_cache_dir`.

    Raises:
        ConfigError: A number makes no sense.
        CorruptImageError: A file is damaged and `on_corrupt` is `error`.
        DataError: The images are not those of the data set, or cannot be used.
    """
    return _open(FFHQ, path, resolution, train, test, val, on_corrupt, allow_upscale, cache_dir)


def lsun_tower256(
    *,
    path: str | Path,
    resolution: int,
    train: int = TOWER.train,
    test: int = TOWER.test,
    val: int = 500,
    on_corrupt: OnCorrupt = "error",
    allow_upscale: bool = False,
    cache_dir: str | Path | None = None,
) -> Domain:
    """LSUN tower: 100,000 of the first 600,000 images train, 5,000 of the others test.

    The draw is ours, the authors' is not published: same numbers, other images. Arguments and
    errors as `ffhq256`; validation images are drawn from those that are left of the first 600,000.
    """
    return _open(TOWER, path, resolution, train, test, val, on_corrupt, allow_upscale, cache_dir)


def lsun_bedroom256(
    *,
    path: str | Path,
    resolution: int,
    train: int = BEDROOM.train,
    test: int = BEDROOM.test,
    val: int = 500,
    on_corrupt: OnCorrupt = "error",
    allow_upscale: bool = False,
    cache_dir: str | Path | None = None,
) -> Domain:
    """LSUN bedroom, divided like `lsun_tower256`."""
    return _open(BEDROOM, path, resolution, train, test, val, on_corrupt, allow_upscale, cache_dir)


def lsun_church256(
    *,
    path: str | Path,
    resolution: int,
    train: int = CHURCH.train,
    test: int = CHURCH.test,
    val: int = 500,
    on_corrupt: OnCorrupt = "error",
    allow_upscale: bool = False,
    cache_dir: str | Path | None = None,
) -> Domain:
    """LSUN church: 100,000 of the first 120,000 images train, 5,000 of the other 6,227 test.

    Differs from the paper: its "first 0.6 million" are more than the 126,227 there are, so that
    the numbers are the paper's and the boundary ours. Arguments and errors as `ffhq256`.
    """
    return _open(CHURCH, path, resolution, train, test, val, on_corrupt, allow_upscale, cache_dir)


def _open(
    published: Published,
    path: str | Path,
    resolution: int,
    train: int,
    test: int,
    val: int,
    on_corrupt: OnCorrupt,
    allow_upscale: bool,
    cache_dir: str | Path | None,
) -> Domain:
    for key, count, least in (("train", train, 1), ("test", test, 0), ("val", val, 0)):
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ConfigError(f"got {count!r}, expected at least {least}; change `data.{key}`")
    source = open_source(path, key="data.path")
    prepared = read_prepared(source)
    images = len(source.names) if prepared is None else prepared.images
    if prepared is None:
        _check_order(source)
    _check_count(published, source, images=images, train=train, test=test)
    wanted = published.places(images=images, train=train, test=test, val=val)
    if prepared is not None:
        index = {place: i for i, place in enumerate(prepared.places)}
        lacking = {place for part in wanted for place in part if place not in index}
        if not lacking <= prepared.dropped:
            raise DataError(
                f"{source.where()} was prepared without {len(lacking - prepared.dropped):,} images "
                "of this split; prepare it without --limit and --only, or change `data.train`, "
                "`data.test` or `data.val`"
            )
        if lacking:
            warnings.warn(
                f"{len(lacking):,} images of the split of {published.title} were dropped when "
                f"{source.where()} was prepared; its report says why",
                stacklevel=3,
            )
        wanted = Places(*([index[place] for place in part if place in index] for part in wanted))
    chosen = sorted({place for part in wanted for place in part})
    return assemble(
        source,
        wanted,
        looked_at=[source.names[place] for place in chosen],
        resolution=resolution,
        on_corrupt=on_corrupt,
        allow_upscale=allow_upscale,
        name=published.name,
        cache_dir=cache_dir,
        key="data.train",
    )


def _check_count(
    published: Published, source: ImageSource, *, images: int, train: int, test: int
) -> None:
    ours = (train, test) == (published.train, published.test)
    if ours and images != published.images:
        raise DataError(
            f"got {images:,} images in {source.where()}, expected the {published.images:,} of "
            f"{published.title}: the paper's split goes by place in the whole data set; change "
            "`data.path`, or `data.train` and `data.test` to divide what is there"
        )
    first = min(published.first, images - test)
    if train > first:
        raise DataError(
            f"got {images:,} images in {source.where()}, expected at least {train:,} to train on "
            f"among the first {max(first, 0):,} and {test:,} to test after them; change "
            "`data.train`, `data.test` or `data.path`"
        )


def _check_order(source: ImageSource) -> None:
    """Refuses 1.png, 10.png, 2.png: the order of names would not be that of the data set."""
    stems = [PurePosixPath(name).stem for name in source.names]
    if all(stem.isdigit() for stem in stems) and len({len(stem) for stem in stems}) > 1:
        raise DataError(
            f"got names like {source.names[0]} and {source.names[-1]} in {source.where()}, "
            "expected numbers of one length (00001.png), which sort in the data set's order; "
            "rename the files, or change `data.path`"
        )
