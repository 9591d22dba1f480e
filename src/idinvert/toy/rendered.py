"""Images of a procedural domain: rendered once to a uint8 cache, read from there by memory map."""

from __future__ import annotations

import hashlib
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.cache import alone, is_whole, new_arrays
from idinvert.errors import DataError
from idinvert.toy.renderer import Renderer

_BLOCK = 256  # images rendered between two looks at the clock


class RenderedSplit(Dataset[dict[str, Any]]):
    """One split, in a cache file of its own that is rendered when its first image is asked for.

    So an evaluation renders no images to train on. The file is opened in the process that reads
    it.

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
            with alone(self.folder / f"{self.stem}.lock"):
                if _are_whole(files):
                    return
                with new_arrays(files) as arrays:
                    self._render_into(arrays)
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

    def _render_into(self, arrays: list[np.ndarray]) -> None:
        """Fills the arrays (pictures, then masks if asked for), with a line of progress."""
        total, began, shown = len(self), time.monotonic(), 0.0
        for start in range(0, total, _BLOCK):
            labels = self.labels[start : start + _BLOCK]
            rendered = self.renderer.render(labels, resolution=self.resolution)
            for array, part in zip(arrays, rendered, strict=False):
                array[start : start + part.shape[0]] = part.numpy()
            done, seconds = min(start + _BLOCK, total), time.monotonic() - began
            if seconds - shown > 2.0 or (done == total and shown > 0.0):
                shown = seconds
                end = "\n" if done == total else "\r"
                rate = f"{done / seconds:,.0f} images/s"
                sys.stderr.write(f"rendering {self.stem}: {done:,} of {total:,}, {rate}{end}")
                sys.stderr.flush()


def _are_whole(files: list[tuple[Path, tuple[int, ...]]]) -> bool:
    return all(is_whole(path, shape) for path, shape in files)


def _digest(ids: Tensor) -> str:
    """Names a split's images in its file's name, whatever drew them."""
    return hashlib.sha256(ids.to(torch.int64).numpy().tobytes()).hexdigest()[:12]
