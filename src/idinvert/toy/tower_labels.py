"""Which attributes a procedural tower has, and how likely their values are."""

from __future__ import annotations

from torch import Tensor

from idinvert.data.domain import Attribute
from idinvert.toy.labels import Kind, attribute_list, independent_labels, index_of

_KINDS: tuple[tuple[str, Kind], ...] = (
    ("clouds", "continuous"),  # none to overcast
    ("sunlight", "continuous"),  # grey and flat to bright with shadows
    ("vegetation", "continuous"),  # bare ground to a grove
    ("height", "continuous"),  # of the shaft
    ("girth", "continuous"),  # slim to stout
    ("taper", "continuous"),  # upper storey wider than the shaft to much narrower
    ("roof", "continuous"),  # battlements up to -0.5, then a cap to a tall spire
    ("turrets", "binary"),  # pinnacles at the corners
    ("clock", "binary"),
    ("round", "binary"),  # a drum instead of a block
    ("angle", "continuous"),  # left to right flank in view
    ("pitch", "continuous"),  # seen from afar to from below: horizon, converging verticals
    ("position", "continuous"),  # left to right in the picture
    ("sun_side", "continuous"),  # sun from the left to from the right
    ("sky", "continuous"),  # along a palette of five colours
    ("stone", "continuous"),  # along a palette of five colours
    ("roof_colour", "continuous"),  # along a palette of four colours
    ("ground", "continuous"),  # along a palette of four colours
    ("windows", "continuous"),  # slits to large
    ("land", "continuous"),  # moves clouds, hills and trees
)
ATTRIBUTES: tuple[Attribute, ...] = attribute_list(_KINDS)
INDEX: dict[str, int] = index_of(ATTRIBUTES)

_SHARES = {"turrets": 0.4, "clock": 0.4, "round": 0.4}


def sample_labels(indices: Tensor, *, seed: int) -> Tensor:
    """Draws the labels of towers; those of index i never depend on other indices.

    Independent of one another but for the sun, which overcast skies dim.

    Args:
        indices: int64 `[N]`.
        seed: Of the whole domain.

    Returns:
        float32 `[N, A]`, in the order of `ATTRIBUTES`: continuous in [-1, 1], binary 0 or 1.
    """
    labels = independent_labels(indices, attributes=ATTRIBUTES, shares=_SHARES, seed=seed)
    overcast = labels[:, INDEX["clouds"]].clamp(min=0.0)
    sunlight = labels[:, INDEX["sunlight"]]
    labels[:, INDEX["sunlight"]] = sunlight - 0.5 * overcast * (sunlight + 1.0)
    return labels
