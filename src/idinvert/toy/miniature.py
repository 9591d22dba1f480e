"""The procedural domains, which need no download: faces, towers, bedrooms, churches.

Faces use the first images for training and the last for testing, like FFHQ. The other domains are
divided like LSUN in the paper (Sec. 4.1): training images are drawn at random from the first
600,000 of an unlimited number, test images from the rest. The draw depends only on the name.
"""

import fcntl
import hashlib
import itertools
import json
import math
import sys
import zlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.annotations import Count, PathText, PositiveInt, Resolution, Seed
from idinvert.data.content import default_cache_dir, file_hash, is_whole_array, make_array
from idinvert.data.domain import Domain
from idinvert.data.pool import cores, in_order
from idinvert.data.progress import Progress
from idinvert.data.split import draw
from idinvert.durable import hash_of, move, write, written_whole
from idinvert.errors import DataError
from idinvert.toy.bedrooms import BEDROOMS
from idinvert.toy.churches import CHURCHES
from idinvert.toy.faces import FACES
from idinvert.toy.renderer import Renderer
from idinvert.toy.towers import TOWERS
from idinvert.untrusted import read_json, regular

DRAWN = {"train": (0, 600_000), "test": (600_000, 90_000), "val": (690_000, 10_000)}
"""For a drawn domain: first image and number of images from which each split is drawn."""

_BLOCK = 128  # images rendered at once
_WORTH = 5e6  # pixels above which more processes are started: 15 seconds of one process
_MOST = 32  # maximum number of processes
_MANY = 5_000  # number of images above which the user is informed
_MEANWHILE = "note: the images of {} are rendered during training, once for all runs"


def procedural(
    renderer: Renderer,
    *,
    resolution: Resolution,
    train: PositiveInt = 65_000,
    test: Count = 5_000,
    val: Count = 500,
    skip: Count = 0,
    seed: Seed = 0,
    cache_dir: PathText | None = None,
    masks: bool = False,
) -> Domain:
    """Builds a procedural domain with exact labels, which replaces FFHQ or an LSUN category.

    Image i is the same in every split and for any counts. Faces: 0 to train-1 are for training, the
    next `test` for testing, the next `val` for validation. In the other domains the splits are a
    stored random draw, and the first n images of each split are the same for any counts.

    Args:
        renderer: Draws the images; bound in `faces_mini`, `towers_mini` and so on.
        resolution: R, pixels; any from 8 on.
        train: Number of training images.
        test: Number of test images, on which tables are measured.
        val: Number of validation images.
        skip: Number of first training images to leave out, so that they are not rendered: a short
            run needs only some of them, and its test images are still those of the tables.
        seed: Seed of the labels; another seed gives other images of the same kind.
        cache_dir: Folder of the rendered images; None: see `content.default_cache_dir`.
        masks: Whether items also have `mask`, uint8 `[R, R]`, indices into the renderer's
            `mask_classes`.

    Raises:
        DataError: A count or the resolution is invalid; from a split, see `RenderedSplit`.
    """
    name = renderer.name

    def check(key: str, value: int, *, least: int = 0, most: float = math.inf) -> None:
        if not least <= value <= most:
            expected = f"{least} or more" if most == math.inf else f"{least} to {most}"
            raise DataError(f"{name}: got {value}, expected {expected}; change `data.{key}`")

    check("resolution", resolution, least=8)
    ids, after = {}, 0
    for key, count in (("train", train), ("test", test), ("val", val)):
        first, there = DRAWN[key]
        check(key, count, most=there if renderer.drawn else math.inf)
        if renderer.drawn:
            places = draw(count, below=there, words=f"idinvert/{name}/{key}")
            ids[key] = first + torch.tensor(places, dtype=torch.int64)
        else:
            ids[key] = torch.arange(after, after + count)
            after += count
    check("skip", skip, most=train)
    ids["train"] = ids["train"][skip:]
    identity = f"{name}/{renderer.version}/{resolution}/{seed}"
    identity += "/drawn" if renderer.drawn else ""
    identity += f"/{train}/{test}/{val}" + (f"/{skip}" if skip or renderer.drawn else "")
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    options: dict[str, Any] = {"resolution": resolution, "seed": seed, "masks": masks}
    splits: dict[str, Any] = {
        key: RenderedSplit(renderer, ids=numbers, folder=folder, **options)
        for key, numbers in ids.items()
    }
    return Domain(
        name=name,
        resolution=resolution,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
        attributes=renderer.attributes,
        mask_classes=renderer.mask_classes,
        **splits,
    )


faces_mini = partial(procedural, FACES)
towers_mini = partial(procedural, TOWERS)
bedrooms_mini = partial(procedural, BEDROOMS)
churches_mini = partial(procedural, CHURCHES)


class RenderedSplit(Dataset[dict[str, Any]]):
    """One split, rendered to its own uint8 file when its images are first used.

    So an evaluation does not render training images. If it is known which images will be used,
    `prepare_part` or, during training, `follow` render only those. Until the file is complete, it
    has another name and a checksum for each image, so that any process may continue it; an image
    whose checksum is wrong is drawn when it is used. Long work is done by several processes. The
    file is memory-mapped by each process that reads it.

    Args:
        renderer: Draws the images.
        ids: Ids of the images, int64 `[n]`.
        resolution: R, pixels.
        seed: Seed of the labels.
        folder: Folder of the files.
        masks: Whether items have `mask`.

    Attributes:
        labels: float32 `[n, A]`.
    """

    def __init__(
        self,
        renderer: Renderer,
        *,
        ids: Tensor,
        resolution: Resolution,
        seed: Seed,
        folder: Path,
        masks: bool,
    ) -> None:
        self.renderer, self.ids, self.resolution, self.folder = renderer, ids, resolution, folder
        self.labels = renderer.sample_labels(ids, seed=seed)
        digest = hashlib.sha256(ids.to(torch.int64).numpy().tobytes()).hexdigest()[:12]
        self.stem = (
            f"{renderer.name}-v{renderer.version}-{resolution}px-seed{seed}-{len(ids)}-{digest}"
        )
        shapes = {"images": (len(ids), 3, resolution, resolution)}
        if masks:
            shapes["masks"] = (len(ids), resolution, resolution)  # type: ignore[assignment]
        self._files = {folder / f"{self.stem}.{kind}.npy": shape for kind, shape in shapes.items()}
        self._sums = folder / f"{self.stem}.sums"
        self._arrays: list[np.ndarray] = []
        self._begun = False  # whether the mapped files are incomplete

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> list[str]:
        """The images' names, in order: their numbers."""
        return [f"{number:06d}" for number in self.ids.tolist()]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns the image at `index`; the first call renders the split if needed.

        Raises:
            DataError: The files cannot be written.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a split of {len(self)} images")
        pixels = self._pixels(index)
        return {
            "image": pixels[0],
            "id": (number := int(self.ids[index])),
            "name": f"{number:06d}",
            "attributes": self.labels[index].clone(),
            **({"mask": pixels[1]} if len(pixels) > 1 else {}),
        }

    def _pixels(self, index: int) -> list[Tensor]:
        """Returns the image at `index`, and its mask if requested."""
        if not self._arrays:
            self._map() if self._begun else self.prepare_part(range(len(self)))
        if self._is_drawn(index):
            return [torch.from_numpy(array[index].copy()) for array in self._arrays[:-1]]
        drawn = self.renderer.render(self.labels[index : index + 1], resolution=self.resolution)
        return [pixels[0] for pixels in drawn[: len(self._files)]]

    def _map(self) -> None:
        """Maps the files, and the checksums of incomplete files."""
        load = partial(np.load, mmap_mode="r" if len(self) else None)
        if self._begun:
            with suppress(FileNotFoundError):  # another process has completed them
                self._arrays = [*map(load, map(_begun, self._files)), load(self._sums)]
                return
        self._begun, self._arrays = False, [*map(load, self._files), np.empty(0)]

    def _is_drawn(self, index: int) -> bool:
        """Returns whether the image is in the mapped files, with the right checksum."""
        if not self._begun:
            return True
        *pixels, sums = self._arrays  # no pixels are read that were never written
        return sums[index].any() and _sum_of(p[index] for p in pixels) == sums[index].tobytes()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": []}  # a worker process maps the files again

    def prepare_part(self, places: Collection[int]) -> None:
        """Renders images that are missing or broken, with a line of progress.

        A second process waits and uses the same images. Images at other places are drawn every time
        they are used.

        Raises:
            DataError: The files cannot be written.
        """
        with self._making() as missing:
            todo = sorted(set(places)) if missing else []
            many = len(todo) * self.resolution**2 > _WORTH
            for workers in (min(cores(), _MOST) if many else 1, 1):  # alone if one was killed
                todo = [place for place in todo if not self._is_drawn(place)]
                blocks = [todo[k : k + _BLOCK] for k in range(0, len(todo), _BLOCK)]
                label = f"rendering {self.renderer.name} once, for the cache"
                with (
                    suppress(BrokenProcessPool),
                    Progress(label, len(todo), patience=2.0) as progress,
                    closing(in_order(self._filler(), blocks, workers=workers)) as rendered,
                ):
                    for done, _ in enumerate(rendered, start=1):
                        progress.update(min(done * _BLOCK, len(todo)))
            self._finish()

    def follow(
        self, batches: Iterator[list[int]], *, workers: int, told: bool = True
    ) -> Generator[list[int], None, None]:
        """Yields each batch once its images are rendered, which other processes do in advance.

        Args:
            batches: Places of images, infinite.
            workers: Number of processes; 1 renders in this one.
            told: Whether to print a note if many images are missing.

        Raises:
            DataError: The files cannot be written.
        """
        with self._making():
            known = np.array([self._is_drawn(place) for place in range(len(self))])
        if told and len(known) - known.sum() > _MANY:
            print(_MEANWHILE.format(self.renderer.name), file=sys.stderr)
        taken: deque[tuple[list[list[int]], list[int]]] = deque()  # batches, images to render

        def blocks() -> Iterator[list[int]]:
            yield from [todo for _, todo in taken]  # what a process that was killed left
            for first in batches if not known.all() else ():
                some = [first, *itertools.islice(batches, max(0, _BLOCK // max(1, len(first)) - 1))]
                todo = [i for i in dict.fromkeys(itertools.chain(*some)) if not known[i]]
                taken.append((some, todo))
                known[todo] = True
                yield todo
                if known.all():
                    return

        for processes in (min(workers, _MOST), 1):  # in this process if one was killed
            with (
                self._refusals(),
                suppress(BrokenProcessPool),
                closing(in_order(self._filler(), blocks(), workers=processes)) as rendered,
            ):
                for _ in rendered:
                    yield from taken.popleft()[0]
        with self._making():
            self._finish()
        yield from batches

    def _is_there(self) -> bool:
        """Returns whether the files are complete and match their hashes, if these are known."""
        if not all(is_whole_array(*each) for each in self._files.items()):
            return False
        try:
            known = dict(read_json(self.folder / f"{self.stem}.sha256"))
        except (OSError, ValueError, TypeError) as error:
            return isinstance(error, FileNotFoundError)  # made by an older version
        return all(known.get(path.name) == file_hash(path) for path in self._files)

    @contextmanager
    def _making(self) -> Iterator[bool]:
        """Yields whether images are missing; other processes wait meanwhile, unless they follow."""
        with self._refusals(), ExitStack() as held:
            if not self._is_there():
                self.folder.mkdir(parents=True, exist_ok=True)
                place = self.folder / f"{self.stem}.lock"
                lock = held.enter_context(open(place, "a", opener=regular))
                fcntl.flock(lock, fcntl.LOCK_EX)  # released if the process dies
            self._begun = not self._is_there()
            shapes = {_begun(path): shape for path, shape in self._files.items()}
            for path, shape in {**shapes, self._sums: (len(self), 4)}.items():
                if self._begun and not is_whole_array(path, shape):
                    with written_whole(path) as name:
                        make_array(name, shape)
            self._map()
            yield self._begun

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            size = sum(map(math.prod, self._files.values())) / 1e6
            raise DataError(
                f"cannot write the image cache in {self.folder}: {error}; it needs a writable "
                f"folder with {size:,.0f} MB free; change `data.cache_dir` or $IDINVERT_CACHE"
            ) from error

    def _filler(self) -> Callable[[Sequence[int]], None]:
        """Returns a picklable function that renders images at given places to the files."""
        files = [*map(_begun, self._files), self._sums]
        return partial(_fill, self.renderer, self.labels, self.resolution, files)

    def _finish(self) -> None:
        """Gives the files their final names if all images are drawn."""
        if self._begun and all(map(self._is_drawn, range(len(self)))):
            sums = {path.name: hash_of(_begun(path)) for path in self._files}
            write(self.folder / f"{self.stem}.sha256", json.dumps(sums))
            for path in self._files:
                move(_begun(path), path)
            self._sums.unlink()
            self._begun = False
            self._map()


def _begun(path: Path) -> Path:
    """Returns the path of a file while it is incomplete."""
    return path.with_suffix(".begun")


def _sum_of(pixels: Iterable[Any]) -> bytes:
    """Returns the checksum of an image and its mask: 4 bytes, never those of an empty file."""
    total = reduce(lambda found, array: zlib.crc32(array.tobytes(), found), pixels, 1)
    return (total or 1).to_bytes(4, "little")


def _fill(
    renderer: Renderer,
    labels: Tensor,
    resolution: int,
    files: Sequence[Path],
    places: Sequence[int],
) -> None:
    """Renders the images at given places, and writes each to its place in each file."""
    rendered = renderer.render(labels[list(places)], resolution=resolution)
    columns = [[pixels.numpy() for pixels in part] for part in rendered[: len(files) - 1]]
    sums = [_sum_of(pixels) for pixels in zip(*columns, strict=True)]
    with suppress(FileNotFoundError):  # another process has completed them
        for path, items in zip(files, [*columns, sums], strict=True):
            with path.open("r+b") as file:  # with a mapping, a full disk would crash the process
                end = file.seek(0, 2)
                for place, item in zip(places, map(bytes, items), strict=True):
                    file.seek(end - (len(labels) - place) * len(item))
                    file.write(item)
