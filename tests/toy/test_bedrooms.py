"""Bedrooms: what each attribute does to pictures and masks."""

import pytest
import torch

from idinvert.toy.bedrooms import BEDROOMS
from tests.toy.procedural import colour, drawn, middle, shares, top, where

BINARY = {"window": "window", "lamp": "lamp", "rug": "rug", "picture": "picture"}


def test_lighting_brightens_the_room_and_the_sky_outside() -> None:
    rows = [{"lighting": v, "window": 1.0} for v in (-1.0, 0.0, 1.0)]
    pictures, masks = drawn(BEDROOMS, *rows, resolution=64)
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[1], masks[2])
    brightness = pictures.flatten(1).mean(1)
    assert brightness[0] + 30 < brightness[1] < brightness[2] - 30
    panes = colour(BEDROOMS, pictures, masks, "window")
    assert panes[2].mean() > panes[0].mean() + 60


def test_wood_browns_floor_and_furniture() -> None:
    rows = [{"wood": v, "lighting": 0.5} for v in (-1.0, 0.0, 1.0)]
    pictures, masks = drawn(BEDROOMS, *rows, resolution=64)
    assert torch.equal(masks[0], masks[2])
    for part in ("floor", "bed", "nightstand"):
        brown = [float(c[0] - c[2]) for c in colour(BEDROOMS, pictures, masks, part)]
        assert brown[0] < 15 and brown[0] + 20 < brown[1] < brown[2] - 20, part
    panels = pictures[2] - pictures[0]
    wall = where(BEDROOMS, masks, "wall")[0]
    assert panels[:, wall].abs().amax(0).gt(30).float().mean() > 0.1
    pillow = where(BEDROOMS, masks, "pillow")[0]
    assert panels[:, pillow].abs().mean() < 8  # at the edges, where the board shines through


@pytest.mark.parametrize("resolution", [32, 64])
def test_things_are_there_or_not(resolution: int) -> None:
    labels = BEDROOMS.sample_labels(torch.arange(96), seed=1)
    names = [attribute.name for attribute in BEDROOMS.attributes]
    _, masks = BEDROOMS.render(labels, resolution=resolution)
    for name, part in BINARY.items():
        area = torch.tensor(shares(BEDROOMS, masks, part))
        there = labels[:, names.index(name)] == 1
        assert (area[~there] == 0).all(), name
        assert (area[there] > 0).float().mean() > 0.9, name
        assert area[there].mean() > 0.005, name


def test_the_bed_is_where_and_as_wide_as_its_labels_say() -> None:
    _, masks = drawn(BEDROOMS, *[{"bed_place": v} for v in (-1.0, 0.0, 1.0)], resolution=64)
    places = middle(BEDROOMS, masks, "bedding")
    assert places[0] < places[1] - 4 and places[2] > places[1] + 4
    _, masks = drawn(BEDROOMS, *[{"bed_width": v} for v in (-1.0, 1.0)], resolution=64)
    areas = shares(BEDROOMS, masks, "bedding")
    assert areas[1] > 1.2 * areas[0]
    _, masks = drawn(BEDROOMS, *[{"headboard": v} for v in (-1.0, 1.0)], resolution=64)
    tops = top(BEDROOMS, masks, "bed")
    assert tops[0] > tops[1] + 3


def test_a_mirrored_room_is_the_mirror_image() -> None:
    row = {"window": 1.0, "lamp": 1.0, "bed_place": 0.4, "view": 0.3}
    pictures, masks = drawn(BEDROOMS, row, {**row, "mirrored": 1.0}, resolution=64)
    assert (pictures[0] - pictures[1].flip(-1)).abs().mean() < 0.5
    assert (masks[0] != masks[1].flip(-1)).float().mean() < 0.01


def test_curtains_close_over_the_window() -> None:
    rows = [{"window": 1.0, "curtains": v} for v in (-1.0, 0.0, 1.0)]
    _, masks = drawn(BEDROOMS, *rows, resolution=64)
    window, curtain = shares(BEDROOMS, masks, "window"), shares(BEDROOMS, masks, "curtain")
    assert window[0] > window[1] > window[2] > 0
    assert 0 < curtain[0] < curtain[1] < curtain[2]


def test_a_lamp_warms_its_corner_of_a_dark_room() -> None:
    dark = {"lighting": -0.8}
    pictures, masks = drawn(BEDROOMS, dark, {**dark, "lamp": 1.0}, resolution=64)
    lamp = where(BEDROOMS, masks, "lamp")[1]
    near = torch.nn.functional.max_pool2d(lamp[None].float(), 13, stride=1, padding=6)[0] > 0
    near = near & ~lamp & where(BEDROOMS, masks, "wall")[1]
    warmer = (pictures[1] - pictures[0])[:, near].mean(1)
    assert warmer[0] > 15 and warmer[0] > warmer[2] + 5


def test_colours_stay_on_their_things() -> None:
    for name, part in (("bed_colour", "bedding"), ("curtain_colour", "curtain"), ("wall", "wall")):
        rows = [{"window": 1.0, name: v} for v in (-1.0, 0.0)]
        pictures, masks = drawn(BEDROOMS, *rows, resolution=128)
        assert torch.equal(masks[0], masks[1])
        change = (pictures[0] - pictures[1]).abs().amax(0)
        area = where(BEDROOMS, masks, part)[0]
        assert change[area].mean() > 40
        assert change[~area].mean() < 4


def test_walls_meet_where_they_should() -> None:
    """A camera at the left sees more of the right wall; floor below, ceiling above."""
    _, masks = drawn(BEDROOMS, {"view": -1.0}, {"view": 1.0}, resolution=64)
    for mask in masks:
        floor, ceiling = (
            mask == BEDROOMS.mask_classes.index(name) for name in ("floor", "ceiling")
        )
        assert torch.nonzero(floor.any(1)).min() > 32
        assert torch.nonzero(ceiling.any(1)).max() < 16
    corner = [int((mask[0:16] == 1).sum(0).argmin()) for mask in masks]
    assert corner[0] != corner[1]
