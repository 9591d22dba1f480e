"""Images of a procedural domain: rendered once to a uint8 cache, read from there by memory map."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.cache import alone, is_whole, new_arrays
from idinvert.data.renderer import Render, Renderer
from idinvert.errors import DataError

_BLOCK = 256  # images rendered between two looks at the clock


class RenderedSplit(Dataset[dict[str, Any]]):
    """Rows of a cache file; the file is opened in the process that reads it.

    Args:
        images: The cache of pictures.
        masks: The cache of masks, if items carry them.
        labels: `[n, A]`, of these rows.
        ids: The n images' ids.
        first: The file's row of the first of them; the others follow.
    """

    def __init__(
        self, *, images: Path, masks: Path | None, labels: Tensor, ids: Tensor, first: int
    ) -> None:
        self.images, self.masks, self.labels = images, masks, labels
        self.ids, self.first = ids, first
        self._open: dict[Path, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a split of {len(self)} images")
        row = self.first + index
        number = int(self.ids[index])
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


def rendered_splits(
    renderer: Renderer,
    *,
    ids: Sequence[Tensor],
    resolution: int,
    seed: int,
    folder: Path,
    stem: str,
    masks: bool,
) -> list[RenderedSplit]:
    """Splits of one cache file, which is rendered where it is missing or broken.

    Args:
        renderer: Draws them.
        ids: Of each split's images, int64 `[n]`; the file holds them one split after the other.
        resolution: R, pixels.
        seed: Of the labels.
        folder: Where the cache is.
        stem: Beginning of the file's name; says all that its content depends on.
        masks: Whether items carry `mask`.

    Raises:
        DataError: The cache cannot be written.
    """
    everyone = torch.cat(list(ids))
    total = len(everyone)
    images = folder / f"{stem}.images.npy"
    mask_file = folder / f"{stem}.masks.npy" if masks else None
    wanted: list[tuple[Path, tuple[int, ...]]] = [(images, (total, 3, resolution, resolution))]
    if mask_file is not None:
        wanted.append((mask_file, (total, resolution, resolution)))
    labels = renderer.sample_labels(everyone, seed=seed)
    _ensure(wanted, render=renderer.render, labels=labels, resolution=resolution, stem=stem)

    splits, first = [], 0
    for part in ids:
        rows = slice(first, first + len(part))
        splits.append(
            RenderedSplit(
                images=images, masks=mask_file, labels=labels[rows], ids=part, first=first
            )
        )
        first += len(part)
    return splits


def _ensure(
    wanted: list[tuple[Path, tuple[int, ...]]],
    *,
    render: Render,
    labels: Tensor,
    resolution: int,
    stem: str,
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
                _render_into(
                    arrays, render=render, labels=labels, resolution=resolution, title=stem
                )
    except OSError as error:
        size = sum(math.prod(shape) for _, shape in wanted) / 1e6
        raise DataError(
            f"cannot write the image cache in {folder}: {error}; it needs a writable folder with "
            f"{size:,.0f} MB free; change `data.cache_dir` or $IDINVERT_CACHE"
        ) from error


def _render_into(
    arrays: list[np.ndarray], *, render: Render, labels: Tensor, resolution: int, title: str
) -> None:
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
