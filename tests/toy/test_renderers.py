"""Faces, towers, bedrooms, churches alike: labels by index, pictures that stand alone, masks."""

import pytest
import torch
from torch import Tensor

from idinvert.toy.bedrooms import BEDROOMS
from idinvert.toy.churches import CHURCHES
from idinvert.toy.faces import FACES
from idinvert.toy.renderer import Renderer, uniform
from idinvert.toy.towers import TOWERS
from tests.toy.procedural import row

RENDERERS = (FACES, TOWERS, BEDROOMS, CHURCHES)
SHOWS = {
    "nave_length": {"angle": 0.6},
    "curtains": {"window": 1.0},
    "curtain_colour": {"window": 1.0},
    "rug_colour": {"rug": 1.0},
    "stripes": {"bed_colour": -1.0},
    "mirrored": {"window": 1.0},
}
"""With which other labels an attribute can be seen."""

# Mean red, green, blue of the first pictures of seed 0 at 32 px.
MEANS = {
    "faces_mini": (
        (150.53, 143.46, 102.51),
        (172.01, 156.07, 117.53),
        (185.41, 136.89, 107.58),
        (156.58, 120.02, 120.68),
        (181.89, 144.87, 109.57),
        (135.5, 133.32, 127.49),
    ),
    "towers_mini": (
        (99.14, 95.01, 106.95),
        (154.29, 143.68, 146.13),
        (50.54, 65.88, 94.77),
        (113.08, 94.22, 90.2),
    ),
    "bedrooms_mini": (
        (74.82, 76.45, 86.09),
        (178.56, 139.44, 143.62),
        (129.75, 101.29, 97.09),
        (116.49, 106.11, 98.51),
    ),
    "churches_mini": (
        (88.98, 91.23, 110.12),
        (190.14, 169.82, 163.06),
        (47.76, 45.66, 61.46),
        (63.94, 68.41, 87.85),
    ),
}
COUNTS = (2713, 239, 1159, 1537, 95, 39, 65, 32, 98, 167)
"""Pixels a class of the first six faces."""
MASK, GOLDEN = (1 << 64) - 1, 0x9E3779B97F4A7C15


@pytest.fixture(params=RENDERERS, ids=lambda renderer: renderer.name)
def renderer(request):
    return request.param


def first(renderer: Renderer, count: int, *, seed: int = 0) -> Tensor:
    return renderer.sample_labels(torch.arange(count), seed=seed)


def mix(x: int) -> int:
    x &= MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_random_numbers_equal_those_of_python_integers():
    indices = (0, 1, 2, 69_999, 2**40)
    for seed in (0, 1, 12345, -7):
        rows = [mix(mix(index * GOLDEN + mix(seed * GOLDEN + 1))) for index in indices]
        expected = [[(mix(r + c * GOLDEN) >> 11) * 2.0**-53 for c in (1, 2, 3)] for r in rows]
        assert uniform(torch.tensor(indices), channels=3, seed=seed).tolist() == expected


def test_random_numbers_are_uniform_and_uncorrelated():
    drawn = uniform(torch.arange(20_000), channels=4, seed=0)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert (drawn.mean(0) - 0.5).abs().max() < 0.01
    assert (drawn.var(0) - 1 / 12).abs().max() < 0.005
    neighbours = torch.cat([drawn[:-1], drawn[1:]], dim=1)
    correlation = torch.corrcoef(neighbours.T) - torch.eye(8, dtype=torch.float64)
    assert correlation.abs().max() < 0.035
    seeds = [uniform(torch.arange(100), channels=2, seed=seed) for seed in (0, 1)]
    assert len(torch.stack(seeds).unique()) == 400


def test_labels_depend_on_index_and_seed_alone(renderer):
    everyone, some = first(renderer, 1000, seed=3), torch.tensor([999, 0, 17, 512])
    assert torch.equal(renderer.sample_labels(some, seed=3), everyone[some])
    assert torch.equal(renderer.sample_labels(torch.tensor([17]), seed=3)[0], everyone[17])
    assert not torch.equal(renderer.sample_labels(some, seed=4), everyone[some])


def test_labels_keep_their_ranges_and_are_all_common(renderer):
    drawn = first(renderer, 5000)
    assert drawn.dtype == torch.float32
    least, beyond = (0.2, 1.0) if renderer is FACES else (0.45, 0.35)
    for column, attribute in zip(drawn.T, renderer.attributes, strict=True):
        name = attribute.name
        if attribute.kind == "binary":
            assert set(column.tolist()) == {0.0, 1.0}, name
            assert abs(column.mean() - (renderer.shares[name] or 0)) < 0.03, name
        else:
            assert column.min() >= -1 and column.max() <= 1, name
            assert column.std() > least and abs(column.mean()) < beyond, name


def test_labels_do_not_tell_one_another():
    for renderer in (TOWERS, BEDROOMS, CHURCHES):
        names = list(renderer.shares)
        # An attribute network is refused where it knows none of the labels: see evaluate.py.
        assert not set(names) & set(FACES.shares)
        related = torch.corrcoef(first(renderer, 4000).double().T).fill_diagonal_(0.0)
        if renderer is TOWERS:  # overcast skies dim the sun
            i, j = names.index("clouds"), names.index("sunlight")
            assert -0.5 < related[i, j] < -0.15
            related[i, j] = related[j, i] = 0.0
        assert related.abs().max() < 0.07
    names, drawn = list(FACES.shares), first(FACES, 5000)
    bearded = drawn[:, names.index("beard")] > 0
    assert 0.2 < bearded.float().mean() < 0.3
    assert (drawn[bearded, names.index("gender")] > 0).all()


def test_a_picture_does_not_depend_on_its_batch(renderer):
    drawn = first(renderer, 37)
    pictures, masks = renderer.render(drawn, resolution=32)
    assert pictures.shape == (37, 3, 32, 32) and pictures.dtype == torch.uint8
    assert masks.shape == (37, 32, 32) and masks.dtype == torch.uint8
    for rows in ([36], [5, 3], list(range(20, 37)), [0, 36, 1]):
        some, some_masks = renderer.render(drawn[rows], resolution=32)
        assert torch.equal(some, pictures[rows]) and torch.equal(some_masks, masks[rows])


def test_every_attribute_changes_the_picture_visibly(renderer):
    rows = []
    for name, share in renderer.shares.items():
        shown = {"beard": -1.0} if renderer is FACES else SHOWS.get(name, {})
        ends = (-1.0 if share is None else 0.0, 1.0)
        rows += [row(renderer, **{**shown, name: end}) for end in ends]
    pictures = renderer.render(torch.cat(rows), resolution=64)[0].float()
    change = (pictures[::2] - pictures[1::2]).abs().amax(1)
    moved = (change > 20).flatten(1).sum(1)  # of 4,096 pixels; by more than 8 % of the range
    least = 12 if renderer is FACES else 24
    assert {n: c for n, c in zip(renderer.shares, moved.tolist(), strict=True) if c < least} == {}


def test_small_changes_of_a_label_make_small_changes_of_the_picture(renderer):
    base = renderer.sample_labels(torch.tensor([11]), seed=0)
    rows = [base]
    for place, share in enumerate(renderer.shares.values()):
        moved = base.clone()
        if share is None:
            moved[0, place] += 0.004 if base[0, place] < 0 else -0.004
        rows.append(moved)
    pictures = renderer.render(torch.cat(rows), resolution=32)[0].float()
    change = (pictures[1:] - pictures[0]).abs().flatten(1).mean(1).tolist()
    assert {n: c for n, c in zip(renderer.shares, change, strict=True) if c >= 1.0} == {}


def test_turning_past_the_front_does_not_jump():
    for renderer in (TOWERS, CHURCHES):
        labels = [row(renderer, sun_side=0.7, angle=angle) for angle in (-0.002, 0.002)]
        pictures = renderer.render(torch.cat(labels), resolution=64)[0].float()
        assert (pictures[0] - pictures[1]).abs().mean() < 0.5, renderer.name


def test_a_higher_resolution_is_the_same_picture(renderer):
    drawn = first(renderer, 8)
    small, small_masks = renderer.render(drawn, resolution=32)
    large, large_masks = renderer.render(drawn, resolution=128)
    reduced = torch.nn.functional.avg_pool2d(large.float(), 4)
    assert (reduced - small.float()).abs().mean() < 4.0
    for value, name in enumerate(renderer.mask_classes):
        ours = (small_masks == value).float().mean()
        theirs = (large_masks == value).float().mean()
        assert abs(ours - theirs) < 0.02 + 0.1 * theirs, name
    for pictures in (large, *(renderer.render(drawn[:2], resolution=r)[0] for r in (16, 48))):
        assert pictures.float().flatten(1).std(1).min() > 10


def test_masks_know_all_classes_and_no_other(renderer):
    _, masks = renderer.render(first(renderer, 64, seed=1), resolution=64)
    counts = torch.bincount(masks.long().flatten(), minlength=len(renderer.mask_classes))
    assert len(counts) == len(renderer.mask_classes)
    assert counts.min() >= 0.002 * 4096 * 64


def test_pictures_differ_as_much_as_faces_do(renderer):
    """A GAN must have something to learn: no two pictures alike, none without contrast."""
    pictures = renderer.render(first(renderer, 96, seed=2), resolution=16)[0]
    flat = pictures.float().flatten(1)
    distance = torch.cdist(flat, flat) / flat.shape[1] ** 0.5
    assert distance.fill_diagonal_(1e9).min() > 6
    assert flat.std(1).min() > 8
    assert (flat - flat.mean(0)).square().mean().sqrt() > 35


def test_wrong_labels_are_refused(renderer):
    count = len(renderer.attributes)
    with pytest.raises(ValueError, match=rf"\[N, {count}\]"):
        renderer.render(torch.zeros(2, 5), resolution=32)
    pictures, masks = renderer.render(torch.zeros(0, count), resolution=32)
    assert pictures.shape == (0, 3, 32, 32) and masks.shape == (0, 32, 32)


def test_pictures_are_those_that_networks_learned(renderer):
    """Where this fails on purpose, raise the renderer's version and train its networks anew."""
    expected = torch.tensor(MEANS[renderer.name]).double()
    pictures, masks = renderer.render(first(renderer, len(expected)), resolution=32)
    torch.testing.assert_close(pictures.double().mean((2, 3)), expected, atol=0.02, rtol=0)
    if renderer is FACES:
        counts = torch.bincount(masks.long().flatten(), minlength=len(COUNTS))
        assert (counts - torch.tensor(COUNTS)).abs().max() <= 4
