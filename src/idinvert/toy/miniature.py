"""The procedural domains that need no download: faces, towers, bedrooms, churches.

Faces train on the first images and test on the last, as FFHQ. The others are divided as LSUN is in
the paper (Sec. 4.1): training images are drawn at random from the first 600,000 (as many as one
likes exist), test images from the rest. The draw follows from the domain's name alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.annotations import Count, PathText, PositiveInt, Resolution, Seed
from idinvert.data.content import default_cache_dir, file_hash
from idinvert.data.domain import Domain
from idinvert.data.pool import cores, in_order
from idinvert.data.progress import Progress
from idinvert.data.split import draw
from idinvert.durable import hash_of, write, written_whole
from idinvert.errors import DataError
from idinvert.toy.bedrooms import BEDROOMS
from idinvert.toy.churches import CHURCHES
from idinvert.toy.faces import FACES
from idinvert.toy.renderer import Renderer
from idinvert.toy.towers import TOWERS

DRAWN = {"train": (0, 600_000), "test": (600_000, 90_000), "val": (690_000, 10_000)}
"""Of a drawn domain, where the images that a split is drawn from begin, and how many there are."""

_BLOCK = 128  # images rendered at once
_WORTH = 15.0  # seconds of work left from which on it pays to start more processes
_MOST = 32  # processes
_MANY = 20_000  # images, of which a user is told how to need fewer
_SHORTER = (
    "note: {:,} images are rendered before the first step, once for all runs;\n"
    "a smaller nimg=…, n=… or data.train=… needs fewer"
)


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
    return Domain(
        name=name,
        resolution=resolution,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
        attributes=renderer.attributes,
        **{k: RenderedSplit(renderer, ids=v, folder=folder, **options) for k, v in ids.items()},
    )


faces_mini = partial(procedural, FACES)
towers_mini = partial(procedural, TOWERS)
bedrooms_mini = partial(procedural, BEDROOMS)
churches_mini = partial(procedural, CHURCHES)


class RenderedSplit(Dataset[dict[str, Any]]):
    """One split, rendered to a uint8 file of its own when its first image is asked for.

    So an evaluation renders no images to train on. Who knows which images will be asked for says so
    by `prepare_part`, and no others are rendered. Long work is done by several processes. The
    file is mapped into the memory of each process that reads it.

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
        self._arrays: list[np.ndarray] = []
        self._options: dict[str, Any] = {"resolution": resolution, "seed": seed, "masks": masks}
        self._part: RenderedSplit | None = None
        self._at: dict[int, int] = {}

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
        number = int(self.ids[index])
        return {
            "image": pixels[0],
            "id": number,
            "name": f"{number:06d}",
            "attributes": self.labels[index].clone(),
            **({"mask": pixels[1]} if len(pixels) > 1 else {}),
        }

    def _pixels(self, index: int) -> list[Tensor]:
        """The picture at `index`, and its mask if it is wanted."""
        if self._part is not None and index in self._at:
            return self._part._pixels(self._at[index])
        if self._part is not None:  # an image that nobody announced
            drawn = self.renderer.render(self.labels[index : index + 1], resolution=self.resolution)
            return [pixels[0] for pixels in drawn[: len(self._files)]]
        if not self._arrays:
            self.prepare()
            self._arrays = [np.load(path, mmap_mode="r") for path in self._files]
        return [torch.from_numpy(array[index].copy()) for array in self._arrays]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": []}  # a worker process maps the files anew

    def prepare_part(self, places: Collection[int]) -> None:
        """Renders some images to a file of their own, unless the whole split is there.

        Others are then drawn when they are asked for, each time.

        Raises:
            DataError: The files cannot be written.
        """
        if len(set(places)) >= len(self) or self._is_there():
            self.prepare()
        elif not set(places) <= self._at.keys():
            chosen = sorted({*places, *self._at})
            ids, folder = self.ids[chosen], self.folder
            part = RenderedSplit(self.renderer, ids=ids, folder=folder, **self._options)
            part.prepare()
            self._part, self._at = part, {place: i for i, place in enumerate(chosen)}

    def prepare(self) -> None:
        """Renders what is missing or broken; whoever comes second waits and finds it there.

        Raises:
            DataError: The files cannot be written.
        """
        self._part, self._at = None, {}
        if self._is_there():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{self.stem}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # one that dies lets go by itself
                if not self._is_there():
                    self._render()
                    sums = {path.name: hash_of(path) for path in self._files}
                    write(self.folder / f"{self.stem}.sha256", json.dumps(sums))
        except OSError as error:
            size = sum(map(math.prod, self._files.values())) / 1e6
            raise DataError(
                f"cannot write the image cache in {self.folder}: {error}; it needs a writable "
                f"folder with {size:,.0f} MB free; change `data.cache_dir` or $IDINVERT_CACHE"
            ) from error

    def _is_there(self) -> bool:
        """Whether the files are complete and, where their hashes are known, as they were made."""
        if not all(_is_whole(path, shape) for path, shape in self._files.items()):
            return False
        try:
            known = dict(json.loads((self.folder / f"{self.stem}.sha256").read_bytes()))
        except FileNotFoundError:  # made by an older version
            return True
        except (OSError, ValueError, TypeError, RecursionError):
            return False
        return all(known.get(path.name) == file_hash(path) for path in self._files)

    def _render(self) -> None:
        """Renders all files, with a line of progress.

        A file under its final name is whole, whoever wrote it and however many did.
        """
        with ExitStack() as stack:
            places = []
            for path, shape in self._files.items():
                name = stack.enter_context(written_whole(path))
                places.append((name, _make_array(name, shape)))
            fill = partial(_fill, self.renderer, self.labels, self.resolution, places)
            progress = Progress(
                f"rendering {self.renderer.name} once, for the cache", len(self), patience=2.0
            )
            for done, _ in enumerate(_in_processes(fill, range(0, len(self), _BLOCK)), start=1):
                if done == 1 and len(self) > _MANY:
                    print(_SHORTER.format(len(self)), file=sys.stderr)
                progress.update(min(done * _BLOCK, len(self)))


def _make_array(path: Path, shape: tuple[int, ...]) -> int:
    """Makes a uint8 array file of zeros; returns where its first image begins, in bytes."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + math.prod(shape))
    return start


def _fill(
    renderer: Renderer, labels: Tensor, resolution: int, files: list[tuple[Path, int]], start: int
) -> None:
    """Renders the block of images from `start` on, and writes it to its place in each file."""
    rendered = renderer.render(labels[start : start + _BLOCK], resolution=resolution)
    for (path, offset), part in zip(files, rendered, strict=False):
        with path.open("r+b") as file:  # mapped, a full disk would be a crash
            file.seek(offset + start * part[0].numel())
            file.write(part.numpy().tobytes())


def _in_processes(fill: Callable[[int], None], starts: Sequence[int]) -> Iterator[None]:
    """Calls `fill` for each start, in several processes where much is left to do.

    Blocks that a killed process leaves undone are done by this one.
    """
    began, done, left = time.monotonic(), 0, 0.0
    workers = min(cores(), _MOST)
    while done < len(starts) and (workers == 1 or left < _WORTH):
        fill(starts[done])
        done += 1
        left = (time.monotonic() - began) * (len(starts) - done) / done
        yield
    try:
        with closing(in_order(fill, starts[done:], workers=workers)) as filled:
            for _ in filled:
                done += 1
                yield
    except BrokenProcessPool:
        for start in starts[done:]:
            fill(start)
            yield


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether `path` is a complete uint8 array file of this shape."""
    try:
        # An array without elements cannot be mapped.
        array = np.load(path, mmap_mode=None if 0 in shape else "r")
    except (ValueError, OSError, EOFError):  # missing, foreign, or cut off
        return False
    offset = getattr(array, "offset", path.stat().st_size)
    size_fits = path.stat().st_size == offset + array.nbytes
    return size_fits and array.shape == shape and array.dtype == np.uint8
