"""The procedural domains joined into one, with the domain of each image as its class."""

import hashlib
import itertools
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.annotations import Count, PathText, PositiveInt, Resolution, Seed
from idinvert.data.domain import Domain
from idinvert.toy.miniature import (
    RenderedSplit,
    bedrooms_mini,
    churches_mini,
    faces_mini,
    towers_mini,
)


def all_mini(
    *,
    resolution: Resolution,
    train: PositiveInt = 65_000,
    test: Count = 5_000,
    val: Count = 500,
    skip: Count = 0,
    seed: Seed = 0,
    cache_dir: PathText | None = None,
) -> Domain:
    """Builds one domain with faces, towers, bedrooms and churches as the classes 0 to 3.

    Images, splits and caches are those of the four domains. The classes alternate: image i of a
    split has class i mod 4. Attributes are those of all four, named ``<class>_<attribute>``; labels
    that do not exist for an image's class are NaN.

    Arguments and errors are those of `miniature.procedural`; counts are per class.
    """
    options: Any = {"resolution": resolution, "train": train, "test": test, "val": val}
    options |= {"skip": skip, "seed": seed, "cache_dir": cache_dir}
    parts = [make(**options) for make in (faces_mini, towers_mini, bedrooms_mini, churches_mini)]
    classes = tuple(part.name.removesuffix("_mini") for part in parts)
    attributes = tuple(
        replace(attribute, name=f"{name}_{attribute.name}")
        for name, part in zip(classes, parts, strict=True)
        for attribute in part.attributes
    )
    marks = "/".join(part.fingerprint for part in parts)
    splits: dict[str, Any] = {
        key: JoinedSplit([getattr(part, key) for part in parts], classes=classes)
        for key in ("train", "val", "test")
    }
    return Domain(
        name="all_mini",
        resolution=resolution,
        fingerprint=hashlib.sha256(f"joined/{marks}".encode()).hexdigest()[:16],
        attributes=attributes,
        classes=classes,
        **splits,
    )


class JoinedSplit(Dataset[dict[str, Any]]):
    """Interleaved splits of several domains; items also have `class`.

    Args:
        parts: The K splits, with the same number of images.
        classes: Names of the K classes.
    """

    def __init__(self, parts: Sequence[RenderedSplit], *, classes: Sequence[str]) -> None:
        self.parts, self.classes = list(parts), tuple(classes)
        ends = torch.tensor([part.labels.shape[1] for part in parts]).cumsum(0).tolist()
        self._columns = [slice(*pair) for pair in itertools.pairwise([0, *ends])]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def ids(self) -> Tensor:
        """The images' ids, int64 `[n]`: K times the id within the class, plus the class."""
        ids = torch.stack([part.ids * len(self.parts) + k for k, part in enumerate(self.parts)])
        return ids.T.flatten()

    @property
    def names(self) -> list[str]:
        """The images' names, in order: class and number."""
        return [self._name(k, name) for turn in self._turns() for k, name in enumerate(turn)]

    def _turns(self) -> Iterator[tuple[str, ...]]:
        return zip(*(part.names for part in self.parts), strict=True)

    def _name(self, k: int, name: str) -> str:
        return f"{self.classes[k]}_{name}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns the image at `index`.

        Raises:
            DataError: See `RenderedSplit`.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a split of {len(self)} images")
        place, k = divmod(index, len(self.parts))
        item = self.parts[k][place]
        labels = torch.full((self._columns[-1].stop,), torch.nan)
        labels[self._columns[k]] = item["attributes"]
        return item | {
            "id": item["id"] * len(self.parts) + k,
            "name": self._name(k, item["name"]),
            "attributes": labels,
            "class": k,
        }

    def _of(self, k: int, places: Collection[int]) -> list[int]:
        """Returns the indices, within split k, of those places that are of class k."""
        return [place // len(self.parts) for place in places if place % len(self.parts) == k]

    def prepare_part(self, places: Collection[int]) -> None:
        """Renders images that are missing or broken; see `RenderedSplit.prepare_part`."""
        for k, part in enumerate(self.parts):
            part.prepare_part(self._of(k, places))

    def follow(
        self, batches: Iterator[list[int]], *, workers: int, told: bool = True
    ) -> Generator[list[int], None, None]:
        """Yields each batch once its images are rendered; see `RenderedSplit.follow`."""
        *copies, batches = itertools.tee(batches, len(self.parts) + 1)
        each = max(1, workers // len(self.parts))
        mine_of = [map(partial(self._of, k), copy) for k, copy in enumerate(copies)]
        with ExitStack() as held:
            following = [
                held.enter_context(closing(part.follow(mine, workers=each, told=told)))
                for part, mine in zip(self.parts, mine_of, strict=True)
            ]
            for batch, *_ in zip(batches, *following, strict=False):  # infinite
                yield batch
