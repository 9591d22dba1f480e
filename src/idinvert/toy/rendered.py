"""Images of a procedural domain: rendered once to a uint8 cache, read from there by memory map."""

from __future__ import annotations

import fcntl
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.pool import cores, in_order
from idinvert.data.progress import Progress
from idinvert.durable import written_whole
from idinvert.errors import DataError
from idinvert.toy.renderer import Renderer

_BLOCK = 128  # images rendered at once
_WORTH = 15.0  # seconds of work left from which on it pays to start more processes
_MOST = 32  # processes


_Place = tuple[Path, int]
"""A file, and where its first image begins, in bytes."""


class RenderedSplit(Dataset[dict[str, Any]]):
    """One split, in a cache file of its own that is rendered when its first image is asked for.

    So an evaluation renders no images to train on. Long work is done by several processes. The
    file is opened in the process that reads it.

    Args:
        renderer: Draws the images.
        ids: Of the images, int64 `[n]`.
        resolution: R, pixels.
        seed: Of the labels.
        folder: Where the cache is.
        masks: Whether items carry `mask`.

    Attributes:
        labels: float32 `[n, A]`.
    """

    def __init__(
        self,
        renderer: Renderer,
        *,
        ids: Tensor,
        resolution: int,
        seed: int,
        folder: Path,
        masks: bool,
    ) -> None:
        self.renderer, self.ids, self.resolution = renderer, ids, resolution
        self.labels = renderer.sample_labels(ids, seed=seed)
        self.folder = folder
        self.stem = (
            f"{renderer.name}-v{renderer.version}-{resolution}px-seed{seed}-{len(ids)}-"
            f"{_digest(ids)}"
        )
        self.shapes: dict[str, tuple[int, ...]] = {"images": (len(ids), 3, resolution, resolution)}
        if masks:
            self.shapes["masks"] = (len(ids), resolution, resolution)
        self._open: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> list[str]:
        """The images' names, in order: their numbers."""
        return [f"{number:06d}" for number in self.ids.tolist()]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The image at `index`; the first call of all renders the split if need be.

        Raises:
            DataError: The cache cannot be written.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a split of {len(self)} images")
        arrays, number = self._arrays(), int(self.ids[index])
        item = {
            "image": torch.from_numpy(arrays["images"][index].copy()),
            "id": number,
            "name": f"{number:06d}",
            "attributes": self.labels[index].clone(),
        }
        if "masks" in arrays:
            item["mask"] = torch.from_numpy(arrays["masks"][index].copy())
        return item

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a worker process maps the file anew

    def prepare(self) -> None:
        """Renders what is missing or broken; whoever comes second waits and finds it there.

        Raises:
            DataError: The cache cannot be written.
        """
        files = self._files()
        if _are_whole(files):
            return
        try:
            with _alone(self.folder / f"{self.stem}.lock"):
                if _are_whole(files):
                    return
                with _new_files(files) as empty:
                    self._render_into(empty)
        except OSError as error:
            size = sum(math.prod(shape) for _, shape in files) / 1e6
            raise DataError(
                f"cannot write the image cache in {self.folder}: {error}; it needs a writable "
                f"folder with {size:,.0f} MB free; change `data.cache_dir` or $IDINVERT_CACHE"
            ) from error

    def _files(self) -> list[tuple[Path, tuple[int, ...]]]:
        return [(self._path(kind), shape) for kind, shape in self.shapes.items()]

    def _path(self, kind: str) -> Path:
        return self.folder / f"{self.stem}.{kind}.npy"

    def _arrays(self) -> dict[str, np.ndarray]:
        if not self._open:
            self.prepare()
            self._open = {kind: np.load(self._path(kind), mmap_mode="r") for kind in self.shapes}
        return self._open

    def _render_into(self, files: list[_Place]) -> None:
        """Fills the files (pictures, then masks if asked for), with a line of progress."""
        fill = partial(_fill, self.renderer, self.labels, self.resolution, files)
        progress = Progress(f"rendering {self.stem}", len(self), patience=2.0)
        starts = range(0, len(self), _BLOCK)
        for done, _ in enumerate(_in_processes(fill, starts), start=1):
            progress.update(min(done * _BLOCK, len(self)))


def _fill(
    renderer: Renderer, labels: Tensor, resolution: int, files: list[_Place], start: int
) -> None:
    """Renders the block of images from `start` on, and writes it to its place in each file."""
    rendered = renderer.render(labels[start : start + _BLOCK], resolution=resolution)
    for (path, offset), part in zip(files, rendered, strict=False):
        with path.open("r+b") as file:
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


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Lets one process of this machine in at a time; one that dies lets go by itself."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _new_files(wanted: Sequence[tuple[Path, tuple[int, ...]]]) -> Iterator[list[_Place]]:
    """Yields uint8 array files that get their final names only when the block ends well.

    A file under its final name is whole, whoever wrote it and however many did.
    """
    with ExitStack() as stack:
        places = []
        for path, shape in wanted:
            name = stack.enter_context(written_whole(path))
            with name.open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                places.append((name, file.tell()))
                file.truncate(file.tell() + math.prod(shape))
        yield places


def _are_whole(files: list[tuple[Path, tuple[int, ...]]]) -> bool:
    return all(_is_whole(path, shape) for path, shape in files)


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether `path` is a complete uint8 array file of this shape."""
    try:
        # An array without elements cannot be mapped.
        array = np.load(path, mmap_mode=None if 0 in shape else "r")
    except (ValueError, OSError, EOFError):  # missing, foreign, or cut off
        return False
    fits = array.shape == shape and array.dtype == np.uint8
    if isinstance(array, np.memmap):
        fits = fits and path.stat().st_size == array.offset + array.nbytes
    return fits


def _digest(ids: Tensor) -> str:
    """Names a split's images in its file's name, whatever drew them."""
    return hashlib.sha256(ids.to(torch.int64).numpy().tobytes()).hexdigest()[:12]
