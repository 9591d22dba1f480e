"""Towers: what each attribute does to pictures and masks."""

import torch

from idinvert.toy.towers import TOWERS
from tests.toy.procedural import colour, drawn, middle, shares, top, where

BARE = {"vegetation": -1.0, "clouds": -1.0}


def test_clouds_fill_the_sky_and_nothing_else() -> None:
    rows = [{"clouds": v, "vegetation": -1.0} for v in (-1.0, -0.3, 0.3, 1.0)]
    pictures, masks = drawn(TOWERS, *rows, resolution=64)
    clouds = shares(TOWERS, masks, "clouds")
    sky = shares(TOWERS, masks, "sky")
    assert clouds[0] < 0.01 and clouds[3] > 0.85 * (clouds[3] + sky[3])
    assert clouds == sorted(clouds) and clouds[2] > clouds[1] + 0.05
    tower = where(TOWERS, masks[:1], "tower")[0] & where(TOWERS, masks[3:], "tower")[0]
    assert (pictures[0] - pictures[3])[:, tower].abs().mean() < 3


def test_the_sun_brightens_everything_but_moves_nothing() -> None:
    rows = [{**BARE, "sunlight": v, "sun_side": 0.8} for v in (-1.0, 0.0, 1.0)]
    pictures, masks = drawn(TOWERS, *rows, resolution=64)
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[1], masks[2])
    brightness = pictures.flatten(1).mean(1)
    assert brightness[1] > brightness[0] + 15 and brightness[2] > brightness[1] + 15


def test_vegetation_grows_from_nothing() -> None:
    rows = [{"vegetation": v} for v in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    _, masks = drawn(TOWERS, *rows, resolution=64)
    green = shares(TOWERS, masks, "vegetation")
    assert green[0] == 0 and green == sorted(green) and green[4] > 0.12
    assert green[4] > green[2] > green[1] > 0


def test_height_width_and_roof() -> None:
    heights = [{**BARE, "height": v, "roof": -1.0} for v in (-1.0, 0.0, 1.0)]
    _, masks = drawn(TOWERS, *heights, resolution=64)
    tops = top(TOWERS, masks, "tower")
    assert tops[0] > tops[1] + 4 and tops[1] > tops[2] + 4
    _, masks = drawn(TOWERS, *[{**BARE, "girth": v} for v in (-1.0, 0.0, 1.0)], resolution=64)
    areas = shares(TOWERS, masks, "tower")
    assert areas[0] * 1.15 < areas[1] < areas[2] / 1.15
    _, masks = drawn(TOWERS, *[{**BARE, "roof": v} for v in (-1.0, 0.0, 1.0)], resolution=64)
    roofs = shares(TOWERS, masks, "roof")
    assert roofs[0] == 0 and 0.005 < roofs[1] < roofs[2] / 1.5


def test_turrets_and_clocks_are_there_or_not() -> None:
    flat = {**BARE, "roof": -1.0}
    _, masks = drawn(TOWERS, flat, {**flat, "turrets": 1.0}, resolution=64)
    without, with_turrets = shares(TOWERS, masks, "roof")
    assert without == 0 and with_turrets > 0.005
    labels = TOWERS.sample_labels(torch.arange(128), seed=5)
    place = [a.name for a in TOWERS.attributes].index("clock")
    _, masks = TOWERS.render(labels, resolution=32)
    dial = torch.tensor(shares(TOWERS, masks, "clock"))
    has = labels[:, place] == 1
    assert (dial[~has] == 0).all() and (dial[has] > 0.003).all()


def test_a_dial_is_white_and_its_window_gone() -> None:
    sunny = {**BARE, "sunlight": 0.8}
    pictures, masks = drawn(TOWERS, sunny, {**sunny, "clock": 1.0}, resolution=128)
    assert colour(TOWERS, pictures[1:], masks[1:], "clock")[0].min() > 130
    openings = shares(TOWERS, masks, "windows")
    assert openings[1] < openings[0]


def test_a_round_tower_has_a_round_foot() -> None:
    """Its lower edge bulges; a block's, seen from the front, is straight."""
    base = {**BARE, "pitch": 1.0}
    _, masks = drawn(TOWERS, base, {**base, "round": 1.0}, resolution=128)
    stone = where(TOWERS, masks, "tower") | where(TOWERS, masks, "door")
    edges = [[int(torch.nonzero(one[:, x])[-1]) for x in (45, 64, 82)] for one in stone]
    assert edges[0][0] == edges[0][1] == edges[0][2]
    assert edges[1][0] + 1 < edges[1][1] and edges[1][2] + 1 < edges[1][1]


def test_the_door_turns_with_the_tower() -> None:
    rows = [{**BARE, "angle": v} for v in (-0.8, 0.0, 0.8)]
    _, masks = drawn(TOWERS, *rows, resolution=64)
    doors = middle(TOWERS, masks, "door")
    assert doors[0] > doors[1] + 2 and doors[2] < doors[1] - 2
    assert abs(doors[1] - 31.5) < 0.5


def test_position_moves_the_tower() -> None:
    rows = [{**BARE, "position": v} for v in (-1.0, 0.0, 1.0)]
    _, masks = drawn(TOWERS, *rows, resolution=64)
    places = middle(TOWERS, masks, "tower")
    assert places[0] < places[1] - 5 and places[2] > places[1] + 5


def test_the_lit_side_is_the_brighter_one() -> None:
    rows = [{**BARE, "round": 1.0, "sunlight": 1.0, "sun_side": v} for v in (-1.0, 1.0)]
    pictures, masks = drawn(TOWERS, *rows, resolution=64)
    for picture, area, sign in zip(
        pictures.mean(1), where(TOWERS, masks, "tower"), (1, -1), strict=True
    ):
        left, right = area.clone(), area.clone()
        left[:, 29:], right[:, :35] = False, False
        assert sign * (picture[left].mean() - picture[right].mean()) > 20
