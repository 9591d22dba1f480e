"""Which attributes a procedural face has, and how likely their values are."""

from __future__ import annotations

import torch
from torch import Tensor

from idinvert.data.domain import Attribute
from idinvert.toy.counter import uniform
from idinvert.toy.labels import Kind, attribute_list, index_of

_CONTINUOUS_OR_BINARY: tuple[tuple[str, Kind], ...] = (
    ("pose", "continuous"),  # yaw, -40 to 40 degrees
    ("tilt", "continuous"),  # roll of the head, -11 to 11 degrees
    ("age", "continuous"),  # young to old: proportions, wrinkles, grey hair
    ("gender", "continuous"),  # feminine to masculine: hair length, jaw, brows, lips
    ("eyeglasses", "binary"),
    ("smile", "continuous"),  # corners of the mouth; teeth from 0.1 on
    ("hair_hue", "continuous"),  # red, brown, golden
    ("hair_lightness", "continuous"),  # black to blond
    ("skin", "continuous"),  # light to dark
    ("background", "continuous"),  # along a palette of eight colours
    ("light", "continuous"),  # from the left to from the right
    ("width", "continuous"),  # narrow to wide face
    ("beard", "continuous"),  # none up to 0, then stubble to full
    ("eye_colour", "continuous"),  # brown, green, blue
    ("brow", "continuous"),  # thin and raised to thick and low
    ("parting", "continuous"),  # side to which the hairline sweeps
    ("cloth", "continuous"),  # along a palette of seven colours
)
ATTRIBUTES: tuple[Attribute, ...] = attribute_list(_CONTINUOUS_OR_BINARY)
INDEX: dict[str, int] = index_of(ATTRIBUTES)

_GLASSES = 0.4  # share of faces with eyeglasses
_BEARD = 0.5  # share of masculine faces with a beard


def sample_labels(indices: Tensor, *, seed: int) -> Tensor:
    """Draws the labels of faces; those of index i never depend on other indices.

    Independent but for two correlations: only masculine faces grow beards, and hair is darker on
    darker skin. Strong poses are rarer than frontal ones, smiles commoner than sad faces.

    Args:
        indices: int64 `[N]`.
        seed: Of the whole domain.

    Returns:
        float32 `[N, A]`, in the order of `ATTRIBUTES`: continuous in [-1, 1], binary 0 or 1.
    """
    drawn = uniform(indices, channels=len(ATTRIBUTES) + 1, seed=seed)
    unit, spare = drawn[:, :-1], drawn[:, -1]
    labels = unit * 2.0 - 1.0

    def column(name: str) -> Tensor:
        return labels[:, INDEX[name]]

    labels[:, INDEX["pose"]] = column("pose").sign() * column("pose").abs() ** 1.25
    labels[:, INDEX["tilt"]] = (unit[:, INDEX["tilt"]] + spare - 1.0).clamp(-1.0, 1.0)
    labels[:, INDEX["smile"]] = 2.0 * unit[:, INDEX["smile"]] ** 0.7 - 1.0  # rather glad than sad
    gender = column("gender")
    labels[:, INDEX["gender"]] = gender.sign() * (0.35 + 0.65 * gender.abs())  # two humps
    labels[:, INDEX["eyeglasses"]] = (unit[:, INDEX["eyeglasses"]] < _GLASSES).to(labels.dtype)
    dark = column("skin").clamp(min=0.0)
    lightness = column("hair_lightness")
    labels[:, INDEX["hair_lightness"]] = lightness - dark * 0.6 * (lightness + 1.0)
    beard = unit[:, INDEX["beard"]]
    grown = (gender > 0) & (beard > 1.0 - _BEARD)
    amount = (beard - (1.0 - _BEARD)) / _BEARD  # [0, 1) among the grown
    labels[:, INDEX["beard"]] = torch.where(grown, 0.25 + 0.75 * amount, -1.0 + 0.5 * beard)
    return labels.to(torch.float32)
