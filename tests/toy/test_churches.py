"""Churches: what each attribute does to pictures and masks."""

import torch

from idinvert.toy.churches import CHURCHES
from tests.toy.procedural import colour, drawn, middle, shares, top, where

BARE = {"vegetation": -1.0, "clouds": -1.0}


def test_the_spire_grows() -> None:
    rows = [{**BARE, "spire": v} for v in (-1.0, 0.0, 1.0)]
    _, masks = drawn(CHURCHES, *rows, resolution=64)
    tops = top(CHURCHES, masks, "spire")
    assert tops[0] > tops[1] + 4 and tops[1] > tops[2] + 4
    areas = shares(CHURCHES, masks, "spire")
    assert areas[0] < areas[1] < areas[2]
    assert top(CHURCHES, masks, "nave") == [top(CHURCHES, masks, "nave")[0]] * 3


def test_at_night_the_windows_are_lit() -> None:
    rows = [{**BARE, "daylight": v} for v in (-1.0, 0.0, 1.0)]
    pictures, masks = drawn(CHURCHES, *rows, resolution=64)
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[1], masks[2])
    brightness = pictures.flatten(1).mean(1)
    assert brightness[0] + 20 < brightness[1] < brightness[2] - 10
    glass = [float(rgb.mean()) for rgb in colour(CHURCHES, pictures, masks, "windows")]
    walls = [float(rgb.mean()) for rgb in colour(CHURCHES, pictures, masks, "nave")]
    assert glass[0] > walls[0] + 40 and glass[2] < walls[2] - 40


def test_brick_is_red_and_stone_is_not() -> None:
    rows = [
        {**BARE, "daylight": 0.7, "brick": brick, "stone": v}
        for brick in (0.0, 1.0)
        for v in (-1.0, 0.0, 1.0)
    ]
    pictures, masks = drawn(CHURCHES, *rows, resolution=64)
    assert all(torch.equal(masks[0], mask) for mask in masks)
    for part in ("nave", "tower"):
        red = [float(c[0] / c[2]) for c in colour(CHURCHES, pictures, masks, part)]
        assert max(red[:3]) < 1.45 and min(red[3:]) > 1.7


def test_the_nave_is_longer_wider_and_steeper() -> None:
    side = {**BARE, "angle": 0.7}
    for name, part in (("nave_length", "nave"), ("nave_width", "nave"), ("gable", "roof")):
        rows = [{**side, name: v} for v in (-1.0, 1.0)]
        _, masks = drawn(CHURCHES, *rows, resolution=64)
        small, large = shares(CHURCHES, masks, part)
        assert large > 1.15 * small, name


def test_the_tower_stands_where_its_label_says() -> None:
    rows = [{**BARE, "tower": v} for v in (-1.0, 0.0, 1.0)]
    _, masks = drawn(CHURCHES, *rows, resolution=64)
    for part in ("tower", "spire", "door"):
        places = middle(CHURCHES, masks, part)
        assert places[0] < places[1] - 7 and places[2] > places[1] + 7, part
    mirrored = [{**BARE, "tower": 1.0, "angle": v} for v in (-0.5, 0.5)]
    _, masks = drawn(CHURCHES, *mirrored, resolution=64)
    naves, towers = middle(CHURCHES, masks, "nave"), middle(CHURCHES, masks, "tower")
    assert towers[0] > naves[0]  # at the right of the front, whichever flank is in view


def test_the_flank_turns_into_view() -> None:
    rows = [{**BARE, "angle": v} for v in (-1.0, 0.0, 1.0)]
    _, masks = drawn(CHURCHES, *rows, resolution=64)
    roofs = middle(CHURCHES, masks, "roof")
    assert roofs[0] < 31.5 - 4 and abs(roofs[1] - 31.5) < 1 and roofs[2] > 31.5 + 4


def test_a_round_window_or_none() -> None:
    _, masks = drawn(CHURCHES, BARE, {**BARE, "rose": 1.0}, resolution=64)
    area = where(CHURCHES, masks, "windows")[:, 34:44, 26:38].flatten(1).sum(1)
    assert area[0] == 0 and area[1] > 10


def test_clouds_and_trees_as_their_labels_say() -> None:
    _, masks = drawn(CHURCHES, BARE, {"clouds": 1.0, "vegetation": 1.0}, resolution=64)
    clouds, trees = shares(CHURCHES, masks, "clouds"), shares(CHURCHES, masks, "vegetation")
    assert clouds[0] < 0.01 and clouds[1] > 0.3
    assert trees[0] == 0 and trees[1] > 0.12
