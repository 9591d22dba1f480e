"""The data sets of the paper with the paper's splits: FFHQ; LSUN tower, bedroom, church."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from idinvert.annotations import Count, OnCorrupt, PathText, PositiveFloat, PositiveInt
from idinvert.data.domain import Domain
from idinvert.data.folder import assemble
from idinvert.data.prepared import read_prepared
from idinvert.data.source import ImageSource, open_source
from idinvert.data.split import Places, draw
from idinvert.errors import ConfigError, DataError


@dataclass(frozen=True)
class Published:
    """The division of one data set (Sec. 4.1). Places count from 0 in the order of names or keys.

    Attributes:
        name: The domain's name.
        title: Name for users.
        images: Total number of images.
        first: Training images are among the first `first` images, test images among the others.
        train: Number of training images.
        test: Number of test images.
        drawn: Whether images are drawn at random; otherwise the first and the last are taken.
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

        Validation images follow the training images in the draw or order; if there are too few,
        they are the last training images, which are still used for training.
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
    """Returns the SHA-256, hex, of lists of places: one per line, an empty line after each list."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update("".join(f"{place}\n" for place in part).encode() + b"\n")
    return digest.hexdigest()


def paper_data(
    published: Published,
    *,
    path: PathText,
    resolution: PositiveInt,
    train: PositiveInt | None = None,
    test: PositiveInt | None = None,
    val: Count = 500,
    on_corrupt: OnCorrupt = "error",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
    cache_dir: PathText | None = None,
) -> Domain:
    """Builds one of the paper's data sets, divided as in the paper (Sec. 4.1).

    FFHQ: no images are left for validation. The last `val` training images are used for validation
    and for training; `train=64500` holds them out. LSUN: the draw is ours, as the authors' draw is
    unpublished; the numbers are the same. Validation images are drawn from the remaining ones.

    Differs from the paper: for LSUN church, its "first 0.6 million" exceed the 126,227 existing
    images, so the numbers are the paper's and the boundary (120,000) is ours.

    Args:
        published: The division; bound in `ffhq256`, `lsun_tower256` and so on.
        path: A folder, .zip or LMDB with all images, as published or prepared.
        resolution: R, pixels.
        train: Training images; None: the paper's number. Another number, here or in `test`, takes
            a part of the existing images, whatever their number.
        test: Test images; None: the paper's number.
        val: Validation images.
        on_corrupt, allow_upscale, megapixels, cache_dir: See `folder.image_folder`.

    Raises:
        ConfigError: A number is invalid.
        CorruptImageError: A file is damaged and `on_corrupt` is `error`.
        DataError: The images are not those of the data set, or cannot be used.
    """
    train = published.train if train is None else train
    test = published.test if test is None else test
    for key, count, least in (("train", train, 1), ("test", test, 0), ("val", val, 0)):
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ConfigError(f"got {count!r}, expected at least {least}; change `data.{key}`")
    source = open_source(path, key="data.path", megapixels=megapixels)
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


ffhq256 = partial(paper_data, FFHQ)
lsun_tower256 = partial(paper_data, TOWER)
lsun_bedroom256 = partial(paper_data, BEDROOM)
lsun_church256 = partial(paper_data, CHURCH)


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
