"""A data set in chunks of consecutive images, the unit that ranks share and that is resumed."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset, default_collate

from idinvert.errors import DataError

Span = tuple[int, int]
"""The images first … last − 1."""


def spans(count: int, *, size: int) -> list[Span]:
    """Cut 0 … count − 1 into chunks of `size`; the last one may be shorter."""
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def limit(dataset: Dataset, n: int | None) -> int:
    """How many images to take.

    Raises:
        DataError: if there are fewer than `n`, or none.
    """
    there = len(dataset)  # type: ignore[arg-type]
    if (n is not None and n > there) or there == 0 or (n is not None and n < 1):
        raise DataError(
            f"asked for n={n} images, but the split has {there}; change n, or the split's size "
            "(data)"
        )
    return there if n is None else n


class Chunks(Dataset[dict[str, Any]]):
    """Whole chunks as items, for a DataLoader with `batch_size=None`: never padded, never mixed.

    Args:
        dataset: items with `image` uint8 [3, R, R], `id` and `name`.
        chunks: the spans to hand out.
    """

    def __init__(self, dataset: Dataset, chunks: Sequence[Span]) -> None:
        self.dataset = dataset
        self.chunks = list(chunks)

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, k: int) -> dict[str, Any]:
        """The batch of chunk k: `image` uint8 [n, 3, R, R], `id` and `index` int64 [n], `name`."""
        first, last = self.chunks[k]
        items = [
            {"index": i, "image": item["image"], "id": item["id"], "name": str(item["name"])}
            | ({"attributes": item["attributes"]} if "attributes" in item else {})
            for i in range(first, last)
            for item in [self.dataset[i]]
        ]
        return default_collate(items)
