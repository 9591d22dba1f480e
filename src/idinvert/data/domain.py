"""What every image source is to the rest of the house: three splits of one domain."""

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
        degrees: What a label of 1 is, where it is an angle; None where it is none.
    """

    name: str
    kind: Literal["continuous", "binary"]
    degrees: float | None = None


@dataclass(frozen=True)
class Domain:
    """Train, validation and test images of one domain at one resolution.

    An item of a split is a dict: `image` uint8 `[3, R, R]`, `id` int (the same image has the same
    id for ever), `name` str, and `attributes` float32 `[A]` where the domain is labelled (NaN: a
    label that the image does not have). Of a domain of classes it also has `class` int, and where
    masks were asked for `mask` uint8 `[R, R]`, indices into `mask_classes`.

    Attributes:
        name: Short name, for instance `faces_mini`.
        resolution: R, pixels.
        train: Images the networks learn from.
        val: Images watched during training.
        test: Images the tables are measured on; none of them is in `train`.
        fingerprint: 16 hex digits that change when any image or split changes.
        attributes: The A labels in the order of the label vector; empty if unlabelled.
        mask_classes: Names of the classes of the masks; empty if there are none to ask for.
        classes: Names of the classes that images are of; empty if they are of none.
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
    """Makes what a split still lacks on disk, here and now instead of in its loader's processes.

    Args:
        split: The images.
        places: Those that will be asked for; None: all.

    Raises:
        DataError: It cannot be made.
    """
    chosen = range(len(split)) if places is None else places  # type: ignore[arg-type]
    if isinstance(split, Subset):
        prepare(split.dataset, [split.indices[place] for place in chosen])
    elif hasattr(split, "prepare_part"):
        split.prepare_part(chosen)


def names_of(split: Dataset[dict[str, Any]]) -> list[str]:
    """The names of a split's images as they are now; read from its items where it lists none."""
    if isinstance(split, Subset):
        names = names_of(split.dataset)
        return [names[i] for i in split.indices]
    listed = getattr(split, "names", None)
    if listed is None:
        return [str(split[i]["name"]) for i in range(len(split))]  # type: ignore[arg-type]
    return list(listed)


def ids_of(split: Dataset[dict[str, Any]]) -> list[int] | None:
    """The ids of a split's images; None where it lists none."""
    if isinstance(split, Subset):
        ids = ids_of(split.dataset)
        return ids and [ids[i] for i in split.indices]
    listed = getattr(split, "ids", None)
    return listed.tolist() if isinstance(listed, Tensor) else listed
