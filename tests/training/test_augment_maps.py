"""The maps that augmentation draws: each operation, how often, how far."""

import math

import pytest
import torch
from torch import Tensor

from idinvert.training import augment_maps as maps
from idinvert.training.augment_maps import Draws, draw_colours, draw_plane

COUNT = 4000
EXACT = dict(rtol=0, atol=0)
TIGHT = dict(rtol=1e-12, atol=1e-12)


def draws(count: int = COUNT, seed: int = 0) -> Draws:
    return Draws(count, torch.Generator().manual_seed(seed))


def plane(p: float, pipe: str, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    return draw_plane(draws(seed=seed), p=p, resolution=32, pipe=pipe)


def f64(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_maps_of_the_plane_are_what_they_say():
    one = torch.tensor([0.7], dtype=torch.float64)
    c, s = math.cos(0.7), math.sin(0.7)
    torch.testing.assert_close(maps.rotation(one)[0], f64([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
    torch.testing.assert_close(
        maps.scaling(one, 2 * one)[0], f64([[0.7, 0, 0], [0, 1.4, 0], [0, 0, 1]]), **EXACT
    )
    torch.testing.assert_close(
        maps.translation(one, 3 * one)[0], f64([[1, 0, 0.7], [0, 1, 3 * 0.7], [0, 0, 1]]), **EXACT
    )
    turns = maps.quarter_turn(torch.arange(4, dtype=torch.float64))
    once = f64([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for count in range(4):
        expected = torch.linalg.matrix_power(once, count)
        assert torch.equal(turns[count], expected), count


def test_maps_of_colours_are_those_of_their_definition():
    """Literal: v is the unit vector of grey; a colour splits into its part along v and the rest."""
    rng = torch.Generator().manual_seed(3)
    colour = torch.randn(3, generator=rng, dtype=torch.float64)
    v = torch.ones(3, dtype=torch.float64) / math.sqrt(3)
    along = (colour @ v) * v
    rest = colour - along
    one = torch.ones(1, dtype=torch.float64)
    torch.testing.assert_close(maps.luma_flip(one)[0] @ colour, rest - along, **TIGHT)
    torch.testing.assert_close(maps.luma_flip(0 * one)[0] @ colour, colour, **TIGHT)
    torch.testing.assert_close(maps.saturation(3 * one)[0] @ colour, along + 3 * rest, **TIGHT)
    third = maps.hue(one * 2 * math.pi / 3)[0]
    torch.testing.assert_close(third @ colour, colour.roll(1), **TIGHT)  # red to green to blue
    turned = maps.hue(0.4 * one)[0] @ colour
    expected = along + math.cos(0.4) * rest + math.sin(0.4) * torch.linalg.cross(v, colour)
    torch.testing.assert_close(turned, expected, **TIGHT)


def test_nothing_happens_at_p_zero():
    for pipe in ("b", "g", "bg", "bgc"):
        drawn, resampled = plane(0.0, pipe)
        assert torch.equal(drawn, torch.eye(3, dtype=torch.float64).expand(COUNT, 3, 3))
        assert not resampled.any()
    colours = draw_colours(draws(), p=0.0, pipe="bgc")
    torch.testing.assert_close(colours, torch.eye(3, 4, dtype=torch.float64).expand(COUNT, 3, 4))


def test_groups_that_are_left_out_change_nothing():
    drawn, resampled = plane(1.0, "c")
    assert torch.equal(drawn, torch.eye(3, dtype=torch.float64).expand(COUNT, 3, 3))
    assert not resampled.any()
    assert torch.equal(
        draw_colours(draws(), p=1.0, pipe="bg"),
        torch.eye(3, 4, dtype=torch.float64).expand(COUNT, 3, 4),
    )


@pytest.mark.parametrize("p", [0.25, 1.0])
def test_blits_take_pixels_to_pixels_as_often_as_they_should(p):
    drawn, resampled = plane(p, "b")
    assert not resampled.any()
    assert torch.equal(drawn, drawn.round())
    linear, moved = drawn[:, :2, :2], drawn[:, :2, 2]
    torch.testing.assert_close(
        linear @ linear.mT, torch.eye(2, dtype=torch.float64).expand(COUNT, 2, 2), **EXACT
    )
    # U(-1/8, 1/8) of 32 pixels: 4 pixels at most, each end half as likely as the others.
    assert moved.abs().max() == 4
    assert (moved == 0).all(1).double().mean() == pytest.approx(1 - p + p / 64, abs=0.03)
    share = (torch.linalg.det(linear) < 0).double().mean()  # mirrored
    assert share == pytest.approx(p / 2, abs=0.03)
    upright = (linear[:, 0, 1] == 0).double().mean()  # not on its side
    assert upright == pytest.approx(1 - p / 2, abs=0.03)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_general_maps_are_as_frequent_and_as_strong_as_in_the_paper(p):
    drawn, resampled = plane(p, "g")
    unturned = 1 - p  # the rotations together
    assert (~resampled).double().mean() == pytest.approx(unturned * (1 - p) ** 3, abs=0.03)
    still = torch.eye(3, dtype=torch.float64).expand_as(drawn)
    assert torch.equal(drawn[~resampled], still[~resampled])
    image = torch.linalg.inv(drawn)  # from the image to the result
    area = torch.linalg.det(image)  # of scaling alone
    scaled = (area - 1).abs() > 1e-9
    assert scaled.double().mean() == pytest.approx(p, abs=0.03)
    assert area[scaled].log2().div(2).std() == pytest.approx(0.2, rel=0.08)
    shift = image[:, :2, 2] / 32
    shifted = (shift != 0).any(1)
    assert shifted.double().mean() == pytest.approx(p, abs=0.03)
    assert shift[shifted].std() == pytest.approx(1 / 8, rel=0.08)
    # The two singular values of scaling s and stretching t are s * t and s / t.
    values = torch.linalg.svdvals(image[:, :2, :2])
    stretch = (values[:, 0] / values[:, 1]).log2() / 2
    stretched = stretch > 1e-6
    assert stretched.double().mean() == pytest.approx(p, abs=0.03)
    half_normal = 0.2 * math.sqrt(2 / math.pi)
    assert stretch[stretched].mean() == pytest.approx(half_normal, rel=0.08)
    turned = (image[:, 0, 1].abs() > 1e-9) | (image[:, 0, 0] < 0)
    assert turned.double().mean() == pytest.approx(p, abs=0.03)


def test_colours_are_as_frequent_and_as_strong_as_in_the_paper():
    p = 0.4
    colours = draw_colours(draws(), p=p, pipe="c")
    grey = colours[:, :, :3].sum(dim=2)  # where (1, 1, 1) goes: contrast and luma flip
    torch.testing.assert_close(grey, grey[:, :1].expand(-1, 3), **TIGHT)  # grey stays grey
    luma = grey[:, 0]
    assert (luma < 0).double().mean() == pytest.approx(p / 2, abs=0.03)
    contrast = luma.abs().log2()
    changed = contrast.abs() > 1e-9
    assert changed.double().mean() == pytest.approx(p, abs=0.03)
    assert contrast[changed].std() == pytest.approx(0.5, rel=0.08)
    brightness = colours[:, 0, 3] / luma
    bright = brightness.abs() > 1e-12
    assert bright.double().mean() == pytest.approx(p, abs=0.03)
    assert brightness[bright].std() == pytest.approx(0.2, rel=0.08)
    # Across the grey axis only contrast and saturation scale.
    size = (torch.linalg.det(colours[:, :, :3]) / luma).abs().sqrt()
    saturation = (size / luma.abs()).log2()
    saturated = saturation.abs() > 1e-6
    assert saturated.double().mean() == pytest.approx(p, abs=0.03)
    assert saturation[saturated].std() == pytest.approx(1.0, rel=0.08)


def test_the_same_stream_gives_the_same_maps_and_each_image_its_own():
    one, again, other = (plane(1.0, "bg", seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not (one == other).flatten(1).all(1).any()
    assert len(one.flatten(1).unique(dim=0)) == COUNT
