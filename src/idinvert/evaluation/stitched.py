"""Targets pasted into contexts, as a data set that a diffusion inverts."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.domain import names_of
from idinvert.editing.masks import paste


class Stitched(Dataset[dict[str, Any]]):
    """The part of a target that a mask shows, in the context of another image (Sec. 4.3).

    Args:
        images: items with `image` uint8 [3, R, R] and `name`.
        pairs: places (target, context).
        mask: [1, R, R], 1 where the target is.
    """

    def __init__(self, images: Dataset, *, pairs: Sequence[tuple[int, int]], mask: Tensor) -> None:
        self.images, self.pairs, self.mask = images, list(pairs), mask

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> list[str]:
        """ "<target> in <context>", in the order of the pairs."""
        names = names_of(self.images)
        return [f"{names[target]} in {names[context]}" for target, context in self.pairs]

    def __getitem__(self, k: int) -> dict[str, Any]:
        """Pair k: `image` uint8 [3, R, R], `id` (its place), `name` "<target> in <context>"."""
        target, context = (self.images[i] for i in self.pairs[k])
        image = paste(target["image"][None], context["image"][None], self.mask)[0]
        return {"image": image, "id": k, "name": f"{target['name']} in {context['name']}"}
