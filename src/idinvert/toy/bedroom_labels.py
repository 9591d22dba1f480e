"""Which attributes a procedural bedroom has, and how likely their values are."""

from __future__ import annotations

from torch import Tensor

from idinvert.data.domain import Attribute
from idinvert.toy.labels import Kind, attribute_list, independent_labels, index_of

_KINDS: tuple[tuple[str, Kind], ...] = (
    ("lighting", "continuous"),  # night to bright day
    ("wood", "continuous"),  # painted furniture and carpet to wooden furniture, planks and panels
    ("view", "continuous"),  # camera at the left to at the right
    ("camera", "continuous"),  # low to high
    ("mirrored", "binary"),  # window at the right instead of at the left
    ("bed_place", "continuous"),  # towards the window to away from it
    ("bed_width", "continuous"),
    ("bed_colour", "continuous"),  # along a palette of seven colours
    ("stripes", "binary"),  # on the blanket
    ("headboard", "continuous"),  # low to high
    ("wall", "continuous"),  # along a palette of six colours
    ("window", "binary"),
    ("curtains", "continuous"),  # drawn aside to nearly closed
    ("curtain_colour", "continuous"),  # along a palette of five colours
    ("lamp", "binary"),  # on the nightstand, lit
    ("rug", "binary"),
    ("rug_colour", "continuous"),  # along a palette of five colours
    ("picture", "binary"),  # over the bed
)
ATTRIBUTES: tuple[Attribute, ...] = attribute_list(_KINDS)
INDEX: dict[str, int] = index_of(ATTRIBUTES)

_SHARES = {
    "mirrored": 0.5,
    "stripes": 0.4,
    "window": 0.75,
    "lamp": 0.5,
    "rug": 0.5,
    "picture": 0.5,
}


def sample_labels(indices: Tensor, *, seed: int) -> Tensor:
    """Draws the labels of bedrooms, all independent; those of index i never depend on others.

    Args:
        indices: int64 `[N]`.
        seed: Of the whole domain.

    Returns:
        float32 `[N, A]`, in the order of `ATTRIBUTES`: continuous in [-1, 1], binary 0 or 1.
    """
    return independent_labels(indices, attributes=ATTRIBUTES, shares=_SHARES, seed=seed)
