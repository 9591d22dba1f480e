"""The procedural domains that need no download: faces, towers, bedrooms, churches.

Faces train on the first images and test on the last, as FFHQ. The others are divided as LSUN is in
the paper (Sec. 4.1): training images are drawn at random from the first 600,000 (as many as one
likes exist), test images from the rest. The draw follows from the domain's name alone.
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
"""Of a drawn domain, where the images that a split is drawn from begin, and how many there are."""

_BLOCK = 128  # images rendered at once
_WORTH = 5e6  # pixels from which on it pays to start more processes: 15 seconds of one
_MOST = 32  # processes
_MANY = 5_000  # images, of which a user is told
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
    """One split, rendered to a uint8 file of its own once its images are asked for.

    So an evaluation renders no images to train on. Who knows which images will be asked for says so
    by `prepare_part`, or by `follow` meanwhile, and no others are rendered. Until the file is
    complete, it has another name, and a checksum for each image, so that any process may go on with
    it; an image whose checksum is wrong is drawn when it is asked for. Long work is done by several
    processes. The file is mapped into the memory of each process that reads it.

    Args:
        renderer: Draws the images.
        ids: Of the images, int64 `[n]`.
        resolution: R, pixels.
        seed: Of the labels.
        folder: Where the files are.
        masks: Whether items carry `mask`.

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
        self._begun = False  # whether they are of files that are not complete

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> list[str]:
        """The images' names, in order: their numbers."""
        return [f"{number:06d}" for number in self.ids.tolist()]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The image at `index`; the first call of all renders the split if need be.

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
        """The picture at `index`, and its mask if it is wanted."""
        if not self._arrays:
            self._map() if self._begun else self.prepare_part(range(len(self)))
        if self._is_drawn(index):
            return [torch.from_numpy(array[index].copy()) for array in self._arrays[:-1]]
        drawn = self.renderer.render(self.labels[index : index + 1], resolution=self.resolution)
        return [pixels[0] for pixels in drawn[: len(self._files)]]

    def _map(self) -> None:
        """Maps the files, and the sums of those that are not complete."""
        load = partial(np.load, mmap_mode="r" if len(self) else None)
        if self._begun:
            with suppress(FileNotFoundError):  # another process has completed them
                self._arrays = [*map(load, map(_begun, self._files)), load(self._sums)]
                return
        self._begun, self._arrays = False, [*map(load, self._files), np.empty(0)]

    def _is_drawn(self, index: int) -> bool:
        """Whether the image is in the mapped files, as it was drawn."""
        if not self._begun:
            return True
        *pixels, sums = self._arrays  # no pixels are read that were never written
        return sums[index].any() and _sum_of(p[index] for p in pixels) == sums[index].tobytes()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": []}  # a worker process maps the files anew

    def prepare_part(self, places: Collection[int]) -> None:
        """Renders images that are missing or broken, with a line of progress.

        Whoever comes second waits and finds them there. Images at other places are drawn when they
        are asked for, each time.

        Raises:
            DataError: The files cannot be written.
        """
        with self._making() as missing:
            todo = sorted(set(places)) if missing else []
            many = len(todo) * self.resolution**2 > _WORTH
            for workers in (min(cores(), _MOST) if many else 1, 1):  # alone, where one was killed
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
        """Hands each batch on once its images are rendered, which other processes do ahead of it.

        Args:
            batches: Places of images, without end.
            workers: Processes; 1 renders in this one.
            told: Whether to say so where there are many.

        Raises:
            DataError: The files cannot be written.
        """
        with self._making():
            known = np.array([self._is_drawn(place) for place in range(len(self))])
        if told and len(known) - known.sum() > _MANY:
            print(_MEANWHILE.format(self.renderer.name), file=sys.stderr)
        taken: deque[list[list[int]]] = deque()

        def blocks() -> Iterator[list[int]]:
            for first in batches if not known.all() else ():
                some = [first, *itertools.islice(batches, max(0, _BLOCK // max(1, len(first)) - 1))]
                taken.append(some)
                todo = [i for i in dict.fromkeys(itertools.chain(*some)) if not known[i]]
                known[todo] = True
                yield todo
                if known.all():
                    return

        with (
            self._refusals(),
            suppress(BrokenProcessPool),  # what is not rendered is drawn when it is asked for
            closing(in_order(self._filler(), blocks(), workers=min(workers, _MOST))) as rendered,
        ):
            for _ in rendered:
                yield from taken.popleft()
        yield from itertools.chain(*taken)
        with self._making():
            self._finish()
        yield from batches

    def _is_there(self) -> bool:
        """Whether the files are complete and, where their hashes are known, as they were made."""
        if not all(is_whole_array(*each) for each in self._files.items()):
            return False
        try:
            known = dict(read_json(self.folder / f"{self.stem}.sha256"))
        except (OSError, ValueError, TypeError) as error:
            return isinstance(error, FileNotFoundError)  # made by an older version
        return all(known.get(path.name) == file_hash(path) for path in self._files)

    @contextmanager
    def _making(self) -> Iterator[bool]:
        """Whether images are missing; meanwhile other processes wait, unless they follow."""
        with self._refusals(), ExitStack() as held:
            if not self._is_there():
                self.folder.mkdir(parents=True, exist_ok=True)
                place = self.folder / f"{self.stem}.lock"
                lock = held.enter_context(open(place, "a", opener=regular))
                fcntl.flock(lock, fcntl.LOCK_EX)  # one that dies lets go by itself
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
        """Renders the images at some places to the files; can be sent to another process."""
        files = [*map(_begun, self._files), self._sums]
        return partial(_fill, self.renderer, self.labels, self.resolution, files)

    def _finish(self) -> None:
        """Gives the files their final names where all images are drawn."""
        if self._begun and all(map(self._is_drawn, range(len(self)))):
            sums = {path.name: hash_of(_begun(path)) for path in self._files}
            write(self.folder / f"{self.stem}.sha256", json.dumps(sums))
            for path in self._files:
                move(_begun(path), path)
            self._sums.unlink()
            self._begun = False
            self._map()


def _begun(path: Path) -> Path:
    """The file of the same content while it is not complete."""
    return path.with_suffix(".begun")


def _sum_of(pixels: Iterable[Any]) -> bytes:
    """The checksum of an image and its mask: 4 bytes, which are never those of an empty file."""
    total = reduce(lambda found, array: zlib.crc32(array.tobytes(), found), pixels, 1)
    return (total or 1).to_bytes(4, "little")


def _fill(
    renderer: Renderer,
    labels: Tensor,
    resolution: int,
    files: Sequence[Path],
    places: Sequence[int],
) -> None:
    """Renders the images at some places, and writes each to its place in each file."""
    rendered = renderer.render(labels[list(places)], resolution=resolution)
    columns = [[pixels.numpy() for pixels in part] for part in rendered[: len(files) - 1]]
    sums = [_sum_of(pixels) for pixels in zip(*columns, strict=True)]
    with suppress(FileNotFoundError):  # another process has completed them
        for path, items in zip(files, [*columns, sums], strict=True):
            with path.open("r+b") as file:  # mapped, a full disk would be a crash
                end = file.seek(0, 2)
                for place, item in zip(places, map(bytes, items), strict=True):
                    file.seek(end - (len(labels) - place) * len(item))
                    file.write(item)
