"""What each label does to pictures and masks."""

import pytest
import torch

from idinvert.toy.bedrooms import BEDROOMS
from idinvert.toy.churches import CHURCHES
from idinvert.toy.faces import FACES
from idinvert.toy.renderer import Renderer
from idinvert.toy.towers import TOWERS
from tests.toy.procedural import Drawn

BARE = {"vegetation": -1.0, "clouds": -1.0}
SIDE = {**BARE, "angle": 0.7}
FLAT = {**BARE, "roof": -1.0}
FACE = {"beard": -1.0}
LOW_TO_HIGH = (-1.0, 0.0, 1.0)


def turned(
    renderer: Renderer,
    name: str,
    values: tuple[float, ...] = LOW_TO_HIGH,
    *,
    resolution: int = 64,
    **others: float,
) -> Drawn:
    """Pictures that differ in one label."""
    return Drawn(renderer, [{**others, name: v} for v in values], resolution=resolution)


@pytest.mark.parametrize(
    ("renderer", "name", "values", "others", "measure", "part", "least"),
    [
        (FACES, "pose", LOW_TO_HIGH, FACE, Drawn.middle, "mouth", 6),
        (TOWERS, "height", LOW_TO_HIGH, FLAT, Drawn.top, "tower", -4),
        (TOWERS, "position", LOW_TO_HIGH, BARE, Drawn.middle, "tower", 5),
        (TOWERS, "angle", (-0.8, 0.0, 0.8), BARE, Drawn.middle, "door", -2),
        (TOWERS, "clouds", (-1.0, -0.3), {"vegetation": -1.0}, Drawn.shares, "clouds", 0),
        (TOWERS, "clouds", (-0.3, 0.3), {"vegetation": -1.0}, Drawn.shares, "clouds", 0.05),
        (TOWERS, "clouds", (0.3, 1.0), {"vegetation": -1.0}, Drawn.shares, "clouds", 0),
        (TOWERS, "vegetation", (-1.0, -0.5, 0.0, 1.0), {}, Drawn.shares, "vegetation", 0),
        (CHURCHES, "spire", LOW_TO_HIGH, BARE, Drawn.top, "spire", -4),
        (CHURCHES, "spire", LOW_TO_HIGH, BARE, Drawn.shares, "spire", 0),
        (CHURCHES, "tower", LOW_TO_HIGH, BARE, Drawn.middle, "tower", 7),
        (CHURCHES, "tower", LOW_TO_HIGH, BARE, Drawn.middle, "spire", 7),
        (CHURCHES, "tower", LOW_TO_HIGH, BARE, Drawn.middle, "door", 7),
        (CHURCHES, "angle", LOW_TO_HIGH, BARE, Drawn.middle, "roof", 3),
        (BEDROOMS, "bed_place", LOW_TO_HIGH, {}, Drawn.middle, "bedding", 4),
        (BEDROOMS, "headboard", (-1.0, 1.0), {}, Drawn.top, "bed", -3),
        (BEDROOMS, "curtains", LOW_TO_HIGH, {"window": 1.0}, Drawn.shares, "window", -1e-9),
        (BEDROOMS, "curtains", LOW_TO_HIGH, {"window": 1.0}, Drawn.shares, "curtain", 0),
    ],
)
def test_a_label_moves_a_part(renderer, name, values, others, measure, part, least):
    found = measure(turned(renderer, name, values, **others), part).double()
    steps = found.diff() if least >= 0 else -found.diff()
    assert (steps > abs(least)).all(), found


@pytest.mark.parametrize(
    ("renderer", "name", "values", "others", "part", "least"),
    [
        (TOWERS, "girth", LOW_TO_HIGH, BARE, "tower", 1.15),
        (TOWERS, "roof", (0.0, 1.0), BARE, "roof", 1.5),
        (CHURCHES, "nave_length", (-1.0, 1.0), SIDE, "nave", 1.15),
        (CHURCHES, "nave_width", (-1.0, 1.0), SIDE, "nave", 1.15),
        (CHURCHES, "gable", (-1.0, 1.0), SIDE, "roof", 1.15),
        (BEDROOMS, "bed_width", (-1.0, 1.0), {}, "bedding", 1.2),
    ],
)
def test_a_label_enlarges_a_part(renderer, name, values, others, part, least):
    areas = turned(renderer, name, values, **others).shares(part)
    assert (areas[1:] > least * areas[:-1]).all() and areas[0] > 0.005


@pytest.mark.parametrize(
    ("renderer", "name", "others", "least"),
    [
        (TOWERS, "sunlight", {**BARE, "sun_side": 0.8}, (15, 15)),
        (CHURCHES, "daylight", BARE, (20, 10)),
        (BEDROOMS, "lighting", {"window": 1.0}, (30, 30)),
    ],
)
def test_light_brightens_everything_but_moves_nothing(renderer, name, others, least):
    drawn = turned(renderer, name, **others)
    assert drawn.same_masks()
    assert (drawn.brightness.diff() > torch.tensor(least)).all()
    if renderer is BEDROOMS:
        panes = drawn.colour("window").mean(1)
        assert panes[2] > panes[0] + 60
    if renderer is CHURCHES:  # at night the windows are lit
        glass, walls = drawn.colour("windows").mean(1), drawn.colour("nave").mean(1)
        assert glass[0] > walls[0] + 40 and glass[2] < walls[2] - 40


@pytest.mark.parametrize(
    ("renderer", "parts", "count", "resolution", "largest"),
    [
        (FACES, {"eyeglasses": "glasses"}, 96, 32, 0.01),
        (FACES, {"eyeglasses": "glasses"}, 96, 64, 0.01),
        (TOWERS, {"clock": "clock"}, 128, 32, 0.003),
        (BEDROOMS, dict.fromkeys(("window", "lamp", "rug", "picture")), 96, 32, 0),
        (BEDROOMS, dict.fromkeys(("window", "lamp", "rug", "picture")), 96, 64, 0),
    ],
)
def test_things_are_there_or_not(renderer, parts, count, resolution, largest):
    seed = 5 if renderer is TOWERS else 1
    labels = renderer.sample_labels(torch.arange(count), seed=seed)
    drawn = Drawn(renderer, labels, resolution=resolution)
    for name, part in parts.items():
        area, there = drawn.shares(part or name), drawn.labels[name] == 1
        assert (area[~there] == 0).all(), name
        if renderer is BEDROOMS:  # a lamp may hide behind the bed
            assert (area[there] > 0).float().mean() > 0.9 and area[there].mean() > 0.005, name
        else:
            assert (area[there] > largest).all(), name
    if renderer is FACES:
        beard, area = drawn.labels["beard"], drawn.shares("beard")
        assert (area[beard <= 0] == 0).all() and (area[beard > 0.6] > 0.01).all()


def test_faces():
    drawn = Drawn(FACES, [{**FACE, "eyeglasses": 1.0, "smile": 1.0}], resolution=128)
    assert drawn.pictures[0][:, drawn.where("glasses")[0]].mean() < 60  # dark
    red, green, blue = drawn.pictures[0][:, drawn.where("skin")[0]].unbind()
    assert red.mean() > green.mean() > blue.mean()
    for name in ("background", "cloth", "skin", "hair", "nose", "mouth", "eyes", "glasses"):
        assert drawn.shares(name) > 0.002, name
    smiles = turned(FACES, "smile", (-0.5, 1.0), **FACE)
    teeth = (smiles.where("mouth") & (smiles.pictures.amin(1) > 200)).flatten(1).sum(1)
    assert teeth[0] == 0 and teeth[1] >= 6
    assert abs(Drawn(FACES, [FACE]).middle("mouth") - 31.5) < 0.5


def test_clouds_fill_the_sky_and_nothing_else():
    drawn = turned(TOWERS, "clouds", (-1.0, 1.0), vegetation=-1.0)
    clouds, sky = drawn.shares("clouds"), drawn.shares("sky")
    assert clouds[0] < 0.01 and clouds[1] > 0.85 * (clouds[1] + sky[1])
    tower = drawn.where("tower").all(0)
    assert (drawn.pictures[0] - drawn.pictures[1])[:, tower].abs().mean() < 3
    church = Drawn(CHURCHES, [BARE, {"clouds": 1.0, "vegetation": 1.0}])
    clouds, trees = church.shares("clouds"), church.shares("vegetation")
    assert clouds[0] < 0.01 and clouds[1] > 0.3 and trees[0] == 0 and trees[1] > 0.12
    grove = turned(TOWERS, "vegetation", (-1.0, -0.5, 0.0, 0.5, 1.0)).shares("vegetation")
    assert grove[0] == 0 and grove[4] > 0.12 and (grove.diff() >= 0).all()


def test_turrets_dials_and_a_round_foot():
    roofs = turned(TOWERS, "turrets", (0.0, 1.0), **FLAT).shares("roof")
    assert roofs[0] == 0 and roofs[1] > 0.005
    assert turned(TOWERS, "roof", (-1.0,), **BARE).shares("roof") == 0
    drawn = turned(TOWERS, "clock", (0.0, 1.0), resolution=128, **BARE, sunlight=0.8)
    assert drawn.pictures[1][:, drawn.where("clock")[1]].mean(1).min() > 130  # white
    openings = drawn.shares("windows")
    assert openings[1] < openings[0]
    # A drum's lower edge bulges; a block's, seen from the front, is straight.
    drawn = turned(TOWERS, "round", (0.0, 1.0), resolution=128, **BARE, pitch=1.0)
    stone = drawn.where("tower") | drawn.where("door")
    edges = [[int(torch.nonzero(one[:, x])[-1]) for x in (45, 64, 82)] for one in stone]
    assert edges[0][0] == edges[0][1] == edges[0][2]
    assert edges[1][0] + 1 < edges[1][1] and edges[1][2] + 1 < edges[1][1]
    assert abs(Drawn(TOWERS, [BARE]).middle("door") - 31.5) < 0.5


def test_the_lit_side_is_the_brighter_one():
    drawn = turned(TOWERS, "sun_side", (-1.0, 1.0), **BARE, round=1.0, sunlight=1.0)
    areas = zip(drawn.pictures.mean(1), drawn.where("tower"), (1, -1), strict=True)
    for picture, area, sign in areas:
        left, right = area.clone(), area.clone()
        left[:, 29:], right[:, :35] = False, False
        assert sign * (picture[left].mean() - picture[right].mean()) > 20


def test_churches():
    naves = turned(CHURCHES, "spire", **BARE).top("nave")
    assert (naves == naves[0]).all()
    rows = [{**BARE, "daylight": 0.7, "brick": b, "stone": v} for b in (0, 1) for v in LOW_TO_HIGH]
    drawn = Drawn(CHURCHES, rows)
    assert drawn.same_masks()
    for part in ("nave", "tower"):  # brick is red and stone is not
        colour = drawn.colour(part)
        red = colour[:, 0] / colour[:, 2]
        assert red[:3].max() < 1.45 and red[3:].min() > 1.7
    drawn = Drawn(CHURCHES, [{**BARE, "tower": 1.0, "angle": v} for v in (-0.5, 0.5)])
    # At the right of the front, whichever flank is in view.
    assert drawn.middle("tower")[0] > drawn.middle("nave")[0]
    roofs = turned(CHURCHES, "angle", **BARE).middle("roof")
    assert roofs[0] < 31.5 - 4 and abs(roofs[1] - 31.5) < 1 and roofs[2] > 31.5 + 4
    windows = turned(CHURCHES, "rose", (0.0, 1.0), **BARE).where("windows")
    area = windows[:, 34:44, 26:38].flatten(1).sum(1)
    assert area[0] == 0 and area[1] > 10


def test_wood_browns_floor_and_furniture():
    drawn = turned(BEDROOMS, "wood", lighting=0.5)
    assert torch.equal(drawn.masks[0], drawn.masks[2])
    for part in ("floor", "bed", "nightstand"):
        colour = drawn.colour(part)
        brown = colour[:, 0] - colour[:, 2]
        assert brown[0] < 15 and (brown.diff() > 20).all(), part
    change = (drawn.pictures[2] - drawn.pictures[0]).abs()
    wall, pillow = drawn.where("wall")[0], drawn.where("pillow")[0]
    assert change[:, wall].amax(0).gt(30).float().mean() > 0.1
    assert change[:, pillow].mean() < 8  # at the edges, where the board shines through


def test_a_mirrored_room_is_the_mirror_image():
    room = {"window": 1.0, "lamp": 1.0, "bed_place": 0.4, "view": 0.3}
    drawn = turned(BEDROOMS, "mirrored", (0.0, 1.0), **room)
    assert (drawn.pictures[0] - drawn.pictures[1].flip(-1)).abs().mean() < 0.5
    assert (drawn.masks[0] != drawn.masks[1].flip(-1)).float().mean() < 0.01


def test_a_lamp_warms_its_corner_of_a_dark_room():
    drawn = turned(BEDROOMS, "lamp", (0.0, 1.0), lighting=-0.8)
    lamp = drawn.where("lamp")[1]
    near = torch.nn.functional.max_pool2d(lamp[None].float(), 13, stride=1, padding=6)[0] > 0
    near = near & ~lamp & drawn.where("wall")[1]
    warmer = (drawn.pictures[1] - drawn.pictures[0])[:, near].mean(1)
    assert warmer[0] > 15 and warmer[0] > warmer[2] + 5


def test_colours_stay_on_their_things():
    for name, part in (("bed_colour", "bedding"), ("curtain_colour", "curtain"), ("wall", "wall")):
        drawn = turned(BEDROOMS, name, (-1.0, 0.0), resolution=128, window=1.0)
        assert drawn.same_masks()
        change = (drawn.pictures[0] - drawn.pictures[1]).abs().amax(0)
        area = drawn.where(part)[0]
        assert change[area].mean() > 40 and change[~area].mean() < 4


def test_walls_meet_where_they_should():
    """A camera at the left sees more of the right wall; floor below, ceiling above."""
    drawn = turned(BEDROOMS, "view", (-1.0, 1.0))
    for floor, ceiling in zip(drawn.where("floor"), drawn.where("ceiling"), strict=True):
        assert torch.nonzero(floor.any(1)).min() > 32 and torch.nonzero(ceiling.any(1)).max() < 16
    corner = [int((ceiling[0:16]).sum(0).argmin()) for ceiling in drawn.where("ceiling")]
    assert corner[0] != corner[1]
