"""Domains drawn on this machine: rendered once to a uint8 cache, read from there by memory map."""

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

from idinvert.data.cache import alone, default_cache_dir, is_whole, new_arrays
from idinvert.data.domain import Domain
from idinvert.data.faces import ATTRIBUTES, RENDERER, render, sample_labels
from idinvert.errors import DataError

_BLOCK = 256  # images rendered between two looks at the clock


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
        DataError: A count or the resolution makes no sense, or the cache cannot be written.
    """
    if resolution < 8:
        raise DataError(
            f"faces_mini: got resolution {resolution}, expected 8 or more; change `data.resolution`"
        )
    for key, count in (("train", train), ("test", test), ("val", val)):
        if count < 0:
            raise DataError(
                f"faces_mini: got {count} images, expected 0 or more; change `data.{key}`"
            )
    if not 0 <= skip <= train:
        raise DataError(
            f"faces_mini: got skip {skip}, expected 0 to {train} (`data.train`); change `data.skip`"
        )
    total = train + test + val - skip
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    stem = f"faces_mini-v{RENDERER}-{resolution}px-seed{seed}-{skip}-{total}"
    images = folder / f"{stem}.images.npy"
    mask_file = folder / f"{stem}.masks.npy" if masks else None
    wanted: list[tuple[Path, tuple[int, ...]]] = [(images, (total, 3, resolution, resolution))]
    if mask_file is not None:
        wanted.append((mask_file, (total, resolution, resolution)))
    labels = sample_labels(torch.arange(skip, skip + total), seed=seed)
    _ensure(wanted, labels=labels, resolution=resolution, stem=stem)

    def split(start: int, stop: int) -> RenderedSplit:
        rows = slice(start - skip, stop - skip)
        return RenderedSplit(
            images=images, masks=mask_file, labels=labels[rows], first=skip, rows=rows
        )

    identity = f"faces_mini/{RENDERER}/{resolution}/{seed}/{train}/{test}/{val}"
    if skip:
        identity += f"/{skip}"
    return Domain(
        name="faces_mini",
        resolution=resolution,
        train=split(skip, train),
        test=split(train, train + test),
        val=split(train + test, skip + total),
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
        attributes=ATTRIBUTES,
    )


class RenderedSplit(Dataset[dict[str, Any]]):
    """Rows of a cache file; the file is opened in the process that reads it.

    Args:
        images: The cache of pictures.
        masks: The cache of masks, if items carry them.
        labels: `[n, A]`, of these rows.
        first: The id of the file's row 0.
        rows: Which rows of the file.
    """

    def __init__(
        self, *, images: Path, masks: Path | None, labels: Tensor, first: int, rows: slice
    ) -> None:
        self.images, self.masks, self.labels = images, masks, labels
        self.first, self.rows = first, rows
        self._open: dict[Path, np.ndarray] = {}

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a split of {len(self)} images")
        row = self.rows.start + index
        number = self.first + row
        item = {
            "image": torch.from_numpy(self._array(self.images)[row].copy()),
            "id": number,
            "name": f"{number:06d}",
            "attributes": self.labels[index].clone(),
        }
        if self.masks is not None:
            item["mask"] = torch.from_numpy(self._array(self.masks)[row].copy())
        return item

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a worker process maps the file anew

    def _array(self, path: Path) -> np.ndarray:
        if path not in self._open:
            self._open[path] = np.load(path, mmap_mode="r")
        return self._open[path]


def _ensure(
    wanted: list[tuple[Path, tuple[int, ...]]], *, labels: Tensor, resolution: int, stem: str
) -> None:
    """Renders what is missing or broken; whoever comes second waits and reads."""
    if all(is_whole(path, shape) for path, shape in wanted):
        return
    folder = wanted[0][0].parent
    try:
        with alone(folder / f"{stem}.lock"):
            if all(is_whole(path, shape) for path, shape in wanted):
                return
            with new_arrays(wanted) as arrays:
                _render_into(arrays, labels=labels, resolution=resolution, title=stem)
    except OSError as error:
        size = sum(math.prod(shape) for _, shape in wanted) / 1e6
        raise DataError(
            f"cannot write the image cache in {folder}: {error}; it needs a writable folder with "
            f"{size:,.0f} MB free; change `data.cache_dir` or $IDINVERT_CACHE"
        ) from error


def _render_into(arrays: list[np.ndarray], *, labels: Tensor, resolution: int, title: str) -> None:
    """Fills the arrays (pictures, then masks if asked for), with a line of progress."""
    total, began, shown = labels.shape[0], time.monotonic(), 0.0
    for start in range(0, total, _BLOCK):
        rendered = render(labels[start : start + _BLOCK], resolution=resolution)
        for array, part in zip(arrays, rendered, strict=False):
            array[start : start + part.shape[0]] = part.numpy()
        done, seconds = min(start + _BLOCK, total), time.monotonic() - began
        if seconds - shown > 2.0 or (done == total and shown > 0.0):
            shown = seconds
            end = "\n" if done == total else "\r"
            rate = f"{done / seconds:,.0f} images/s"
            sys.stderr.write(f"rendering {title}: {done:,} of {total:,}, {rate}{end}")
            sys.stderr.flush()
