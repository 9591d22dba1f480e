"""Which attributes a procedural church has, and how likely their values are."""

from __future__ import annotations

from torch import Tensor

from idinvert.data.domain import Attribute
from idinvert.toy.labels import Kind, attribute_list, independent_labels, index_of

_KINDS: tuple[tuple[str, Kind], ...] = (
    ("spire", "continuous"),  # low cap to tall spire
    ("daylight", "continuous"),  # night with lit windows to bright day
    ("brick", "binary"),  # brick instead of stone
    ("nave_length", "continuous"),
    ("nave_width", "continuous"),
    ("gable", "continuous"),  # flat to steep roof of the nave
    ("tower", "continuous"),  # at the left, in the middle, at the right of the front
    ("tower_height", "continuous"),
    ("rose", "binary"),  # a round window on the tower
    ("windows", "continuous"),  # narrow to wide
    ("angle", "continuous"),  # left to right flank in view
    ("position", "continuous"),  # left to right in the picture
    ("sun_side", "continuous"),  # sun from the left to from the right
    ("sky", "continuous"),  # along a palette of four colours
    ("stone", "continuous"),  # shade of stone or brick
    ("roof_colour", "continuous"),  # along a palette of five colours
    ("ground", "continuous"),  # along a palette of four colours
    ("clouds", "continuous"),  # none to overcast
    ("vegetation", "continuous"),  # bare ground to a grove
    ("land", "continuous"),  # moves clouds, hills and trees
)
ATTRIBUTES: tuple[Attribute, ...] = attribute_list(_KINDS)
INDEX: dict[str, int] = index_of(ATTRIBUTES)

_SHARES = {"brick": 0.5, "rose": 0.5}


def sample_labels(indices: Tensor, *, seed: int) -> Tensor:
    """Draws the labels of churches; those of index i never depend on other indices.

    Independent of one another; days are commoner than nights.

    Args:
        indices: int64 `[N]`.
        seed: Of the whole domain.

    Returns:
        float32 `[N, A]`, in the order of `ATTRIBUTES`: continuous in [-1, 1], binary 0 or 1.
    """
    labels = independent_labels(indices, attributes=ATTRIBUTES, shares=_SHARES, seed=seed)
    daylight = (labels[:, INDEX["daylight"]] + 1.0) * 0.5
    labels[:, INDEX["daylight"]] = 2.0 * daylight * (1.6 - 0.6 * daylight) - 1.0
    return labels
