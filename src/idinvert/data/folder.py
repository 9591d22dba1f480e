"""A user's images: a folder, zip archive or LMDB as a domain, or as a plain list to invert."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from torch.utils.data import Dataset

from idinvert.annotations import Count, Name, OnCorrupt, PathText, PositiveFloat, PositiveInt
from idinvert.data.content import default_cache_dir
from idinvert.data.decode import decode, fit, too_small
from idinvert.data.domain import Domain
from idinvert.data.formats import left_out
from idinvert.data.scan import Finding, left_out_words, reason, scan
from idinvert.data.source import FolderSource, ImageSource, open_source
from idinvert.data.split import Places, divide
from idinvert.errors import ConfigError, CorruptImageError, DataError, Note

RESULTS = "codes.safetensors"
"""File by which a folder of images written by an evaluation is recognised."""


class _Options(TypedDict):
    resolution: int
    allow_upscale: bool


def image_folder(
    *,
    path: PathText,
    resolution: PositiveInt,
    split: Mapping[str, Any],
    val: Count | None = None,
    on_corrupt: OnCorrupt = "error",
    allow_upscale: bool = False,
    megapixels: PositiveFloat | None = None,
    name: Name = "folder",
    classes: bool | None = None,
    cache_dir: str | Path | None = None,
) -> Domain:
    """Builds a domain from image files.

    All files are decoded and hashed once (the index is kept in the cache), so that damage, small
    images and leaks are found before any work. Images whose bytes are also in the test set are
    removed from train and val, those that are also in val from train; a warning counts them.

    Args:
        path: A folder, searched recursively, a .zip archive or an LMDB.
        resolution: R, pixels; images are cropped to their central square and resized.
        split: See `split.divide`.
        val: Number of validation images; None: see `split.divide`.
        on_corrupt: `error` refuses damaged and small files, `skip` leaves them out with a warning.
        allow_upscale: Whether images smaller than R are enlarged rather than refused.
        megapixels: The largest image that is decoded; None: 134.
        name: The domain's name.
        classes: Whether each folder directly below `path` is a class, for a conditional GAN;
            classes are in the order of their names.
        cache_dir: Folder of the index; None: see `content.default_cache_dir`.

    Raises:
        ConfigError: A setting is invalid.
        CorruptImageError: A file is damaged and `on_corrupt` is `error`.
        DataError: The folder, a size or the split cannot be used.
    """
    source = open_source(path, key="data.path", megapixels=megapixels)
    return assemble(
        source,
        divide(source.names, split=split, val=val),
        looked_at=source.names,
        resolution=resolution,
        on_corrupt=on_corrupt,
        allow_upscale=allow_upscale,
        name=name,
        classes=_classes(source) if classes else (),
        cache_dir=cache_dir,
        key="data.split",
    )


def assemble(
    source: ImageSource,
    places: Places,
    *,
    looked_at: Sequence[str],
    resolution: int,
    on_corrupt: OnCorrupt,
    allow_upscale: bool,
    name: str,
    classes: tuple[str, ...] = (),
    cache_dir: str | Path | None,
    key: str,
) -> Domain:
    """Builds a domain from given places of a source; see `image_folder`.

    A validation image whose place is also a training image stays in both.

    Args:
        source: The files.
        places: Indices of the source's names for training, validation and test.
        looked_at: Names to decode and hash before any work; at least those of `places`.
        resolution, on_corrupt, allow_upscale, name, cache_dir: As in `image_folder`.
        classes: Names of the folders that are classes; empty for no classes.
        key: The config key of the split, for errors.

    Raises:
        ConfigError, CorruptImageError, DataError: As in `image_folder`.
    """
    path = source.where()
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    options: _Options = {"resolution": resolution, "allow_upscale": allow_upscale}
    found = _usable(source, looked_at, folder, on_corrupt, **options)

    def names(part: list[int]) -> list[str]:
        return [source.names[i] for i in part if source.names[i] in found]

    test, held, train = names(places.test), names(places.val), names(places.train)
    if not train:
        raise DataError(f"no usable training image is left in {path}; change `{key}`")
    held = _without(held, test, found, losing="val", keeping="test")
    also = set(held) & set(train)
    others = [*test, *(file for file in held if file not in also)]
    train = _without(train, others, found, losing="train", keeping="test or val")
    if not train:
        raise DataError(f"every training image of {path} is also a test image; change `{key}`")

    digest = hashlib.sha256(f"1/{resolution}\n".encode())
    for part in (train, held, test):
        # The decoder's version is hashed for files that version 1 does not read identically.
        marks = {f: f"/{found[f].decoder}" if found[f].decoder > 1 else "" for f in part}
        digest.update("".join(f"{found[f].sha256}{marks[f]}\n" for f in part).encode() + b"\n")
        if classes:
            digest.update("".join(f"{classes.index(_class(f))}\n" for f in part).encode())

    splits: dict[str, Any] = {
        key: ImageFiles(source=source, names=part, classes=classes, **options)
        for key, part in (("train", train), ("val", held), ("test", test))
    }
    digits = digest.hexdigest()[:16]
    return Domain(name=name, resolution=resolution, fingerprint=digits, classes=classes, **splits)


def _class(name: str) -> str:
    """Returns the folder directly below the source that contains a file; empty if none does."""
    return name.partition("/")[0] if "/" in name else ""


def _classes(source: ImageSource) -> tuple[str, ...]:
    """Returns the classes of a source's files.

    Raises:
        DataError: A file is in no folder, all are in one, or the folders are numbered as tools
            that prepare images number them.
    """
    found = {_class(name) for name in source.names}
    numbered = all(len(name) == 5 and name.isdecimal() for name in found)
    if "" in found or len(found) < 2 or numbered:
        what = "images beside its folders" if "" in found else "one folder of images"
        what = "numbered folders, as prepared images have them" if numbered else what
        raise DataError(
            f"{source.where()} has {what}, expected two or more folders, one a class, and nothing "
            "beside them; change `data.path` or `data.classes`"
        )
    return tuple(sorted(found))


def read_images(
    path: str | Path,
    *,
    resolution: int,
    on_corrupt: OnCorrupt = "error",
    allow_upscale: bool = False,
    megapixels: float | None = None,
    key: str = "images",
    without: Sequence[Path] = (),
) -> "ImageFiles":
    """Reads the images of a path, in the order of their names, or in the order of a list.

    Args:
        path: A file, several files, a folder or a zip archive.
        resolution: R, pixels.
        on_corrupt: `error` or `skip`.
        allow_upscale: Whether images smaller than R are enlarged rather than refused.
        megapixels: The largest image that is decoded; None: 134.
        key: The config key of `path`, for errors.
        without: Folders below `path` to ignore; folders of results, which contain a
            ``codes.safetensors``, are ignored too.

    Raises:
        ConfigError: `on_corrupt` is neither `error` nor `skip`.
        CorruptImageError: A file is damaged and `on_corrupt` is `error`.
        DataError: There is no usable image, or one is too small and `on_corrupt` is `error`.
    """
    source = open_without_results(path, without, key=key, megapixels=megapixels)
    options: _Options = {"resolution": resolution, "allow_upscale": allow_upscale}
    found = _usable(source, source.names, None, on_corrupt, **options)
    if not found:
        raise DataError(f"every image of {path} is damaged or too small; change `{key}`")
    return ImageFiles(source=source, names=list(found), **options)


def open_without_results(
    path: str | Path, without: Sequence[Path], *, key: str, megapixels: float | None = None
) -> ImageSource:
    """Like `open_source`, but ignores what evaluations wrote below a folder; see `read_images`.

    Raises:
        DataError: As in `open_source`, or there are no other images.
    """
    source = open_source(path, key=key, megapixels=megapixels)
    if isinstance(source, FolderSource) and not str(path).startswith("["):
        images, kept = set(source.names), _without_results(source.path, source.files, without)
        source.names = tuple(name for name in kept if name in images)
        source.left_out = left_out(name for name in kept if name not in images)
        if not source.names:
            raise DataError(f"{path} holds no image besides results; change `{key}`")
    return source


def _without_results(root: Path, names: Sequence[str], without: Sequence[Path]) -> list[str]:
    """Returns the names of a folder's files that no evaluation wrote below it."""
    top = root.resolve()
    known: dict[Path, bool] = {top: False}

    def written(folder: Path) -> bool:
        if folder not in known:
            inside = root / folder.relative_to(top)
            known[folder] = (
                folder in places or (inside / RESULTS).is_file() or written(folder.parent)
            )
        return known[folder]

    places = {place.resolve() for place in without}
    return [name for name in names if not written((top / name).parent)]


class ImageFiles(Dataset[dict[str, Any]]):
    """Some files of a source; an item's id is its file's index among all names of the source.

    With classes, an item's `class` is the index of its folder among them.
    """

    def __init__(
        self,
        *,
        source: ImageSource,
        names: list[str],
        resolution: int,
        allow_upscale: bool,
        classes: Sequence[str] = (),
    ) -> None:
        self.source, self.names, self.classes = source, names, classes
        self.resolution, self.allow_upscale = resolution, allow_upscale
        place = {name: i for i, name in enumerate(source.names)}
        self.ids = [place[name] for name in names]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        name = self.names[index]
        data, where = self.source.read(name), self.source.where()
        image = decode(data, name=f"{name} in {where}", most=self.source.most_pixels)
        pixels = fit(image, resolution=self.resolution, name=name, allow_upscale=self.allow_upscale)
        item = {"image": pixels, "id": self.ids[index], "name": name}
        return item | ({"class": self.classes.index(_class(name))} if self.classes else {})


def _usable(
    source: ImageSource,
    names: Sequence[str],
    cache_dir: Path | None,
    on_corrupt: str,
    *,
    resolution: int,
    allow_upscale: bool,
) -> dict[str, Finding]:
    """Returns the findings of the files that decode, by name and in order; refuses small ones."""
    if on_corrupt not in ("error", "skip"):
        raise ConfigError(
            f"got {on_corrupt!r}, expected error or skip; change `data.on_corrupt` (with "
            "task=invert: `task.on_corrupt`, in Python: on_corrupt)"
        )
    if source.left_out:
        warnings.warn(
            f"not read in {source.where()}: {'; '.join(source.left_out)}",
            category=Note,
            stacklevel=3,
        )
    findings = scan(source, cache_dir=cache_dir, names=names)
    damaged = [name for name in findings if findings[name].damage]
    whole = {name: found for name, found in findings.items() if not found.damage}
    sizes = {name: (found.width, found.height) for name, found in whole.items()}
    small = [n for n in sizes if not allow_upscale and min(sizes[n]) < resolution]
    if not damaged and not small:
        return whole
    words = left_out_words(len(damaged), len(small))
    if on_corrupt == "error":
        more = f" ({words} in all)" if len(damaged) + len(small) > 1 else ""
        if damaged:
            raise CorruptImageError(f"{source.where()}: {findings[damaged[0]].damage}{more}")
        name = f"{small[0]} in {source.where()}"
        raise DataError(too_small(*sizes[small[0]], resolution=resolution, name=name) + more)
    why = {name: reason(name, findings[name].damage) for name in damaged}
    why |= {name: "{}x{} pixels".format(*sizes[name]) for name in small}
    files = _some([f"{name} ({told})" for name, told in why.items()])
    warnings.warn(f"left out {words} of {source.where()}: {files}", category=Note, stacklevel=3)
    return {name: found for name, found in whole.items() if name not in set(small)}


def _without(
    files: list[str],
    others: list[str],
    findings: dict[str, Finding],
    *,
    losing: str,
    keeping: str,
) -> list[str]:
    """Returns `files` except for those whose content is also among `others`."""
    content = {findings[name].sha256 for name in others}
    leaks = [name for name in files if findings[name].sha256 in content]
    if leaks:
        warnings.warn(
            f"removed {len(leaks)} images from {losing} whose content is also in {keeping}: "
            f"{_some(leaks)}",
            category=Note,
            stacklevel=3,
        )
    return [name for name in files if findings[name].sha256 not in content]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
