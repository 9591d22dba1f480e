"""The common form of all image sources: three splits of one domain."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import Dataset, Subset


@dataclass(frozen=True)
class Attribute:
    """One label of an image.

    Attributes:
        name: The word used in configs, records and edits, for instance `eyeglasses`.
        kind: `continuous` (label in [-1, 1]) or `binary` (label 0 or 1).
        degrees: Angle for a label of 1, if the label is an angle; None otherwise.
    """

    name: str
    kind: Literal["continuous", "binary"]
    degrees: float | None = None


@dataclass(frozen=True)
class Domain:
    """Train, validation and test images of one domain at one resolution.

    An item of a split is a dict: `image` uint8 `[3, R, R]`, `id` int (permanent for an image),
    `name` str, and `attributes` float32 `[A]` if the domain is labelled (NaN for a missing label).
    In a domain with classes it also has `class` int, and if masks were requested `mask` uint8
    `[R, R]`, indices into `mask_classes`.

    Attributes:
        name: Short name, for instance `faces_mini`.
        resolution: R, pixels.
        train: Images for training.
        val: Images evaluated during training.
        test: Images on which tables are measured; none of them is in `train`.
        fingerprint: 16 hex digits that change when any image or split changes.
        attributes: The A labels in the order of the label vector; empty if unlabelled.
        mask_classes: Names of the classes in masks; empty if the domain has no masks.
        classes: Names of the images' classes; empty if images have no classes.
    """

    name: str
    resolution: int
    train: Dataset[dict[str, Any]]
    val: Dataset[dict[str, Any]]
    test: Dataset[dict[str, Any]]
    fingerprint: str
    attributes: tuple[Attribute, ...] = ()
    mask_classes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def prepare(split: Dataset[dict[str, Any]], places: Collection[int] | None = None) -> None:
    """Creates the missing files of a split on disk now, instead of in its loader's processes.

    Args:
        split: The images.
        places: Indices of the images that will be used; None for all.

    Raises:
        DataError: A file cannot be created.
    """
    chosen = range(len(split)) if places is None else places  # type: ignore[arg-type]
    if isinstance(split, Subset):
        prepare(split.dataset, [split.indices[place] for place in chosen])
    elif hasattr(split, "prepare_part"):
        split.prepare_part(chosen)


def names_of(split: Dataset[dict[str, Any]]) -> list[str]:
    """Returns the current names of a split's images; reads its items if it has no list of names."""
    if isinstance(split, Subset):
        names = names_of(split.dataset)
        return [names[i] for i in split.indices]
    listed = getattr(split, "names", None)
    if listed is None:
        return [str(split[i]["name"]) for i in range(len(split))]  # type: ignore[arg-type]
    return list(listed)


def ids_of(split: Dataset[dict[str, Any]]) -> list[int] | None:
    """Returns the ids of a split's images; None if it has no list of ids."""
    if isinstance(split, Subset):
        ids = ids_of(split.dataset)
        return ids and [ids[i] for i in split.indices]
    listed = getattr(split, "ids", None)
    return listed.tolist() if isinstance(listed, Tensor) else listed
