"""Augmented images against a literal pipeline of padding, zeros, filters and interpolation."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from idinvert.training import augment_maps as maps
from idinvert.training.augment_maps import Augmentations, Draws, draw_colours, draw_plane
from idinvert.training.augment_sampling import CENTRE, SYM6, Augmenter, Bilinear

R = 8
PLAIN = torch.eye(3, 4, dtype=torch.float64)


def images(count: int = 3, *, resolution: int = R, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, resolution, resolution, generator=rng, dtype=torch.float64) * 2 - 1


def shown(plane: Tensor, *, resampled: bool, colours: Tensor = PLAIN) -> Augmentations:
    """`plane` from the image to the result, for each image."""
    return Augmentations(
        plane=torch.linalg.inv(plane),
        resampled=torch.full((len(plane),), resampled),
        colours=colours.expand(len(plane), 3, 4),
    )


def augmenter(resolution: int = R) -> Augmenter:
    """In float64; its filters were rounded to single precision."""
    return Augmenter(resolution=resolution).double()


def drawn(count: int, *, p: float, seed: int = 0, resolution: int = R) -> Augmentations:
    draws = Draws(count, torch.Generator().manual_seed(seed))
    plane, resampled = draw_plane(draws, p=p, resolution=resolution, pipe="bgc")
    colours = draw_colours(draws, p=p, pipe="bgc")
    return Augmentations(plane=plane, resampled=resampled, colours=colours)


def number(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_filter_is_sym6():
    h, k = np.array(SYM6), np.arange(12)
    for shift in range(6):  # orthonormal to its shifts by two
        product = (h[: 12 - 2 * shift] * h[2 * shift :]).sum()
        assert product == pytest.approx(float(shift == 0), abs=1e-11)
    assert h.sum() == pytest.approx(math.sqrt(2))
    for moment in range(6):  # six vanishing moments of its wavelet
        assert ((-1.0) ** k * k**moment * h).sum() == pytest.approx(0, abs=1e-8)
    # Least asymmetric of the filters with these properties: its phase is nearly linear.
    w = np.linspace(0.1, np.pi / 2, 50)
    phase = np.unwrap(np.angle(np.exp(-1j * np.outer(w, k)) @ h))
    delay = -phase / w
    assert np.ptp(delay) < 0.5
    assert pytest.approx((k * h).sum() / h.sum()) == CENTRE


def test_mirroring_is_exact():
    x = images()
    minus, one = -torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    for plane, expected in (
        (maps.scaling(minus, one), x.flip(3)),
        (maps.scaling(one, minus), x.flip(2)),
        (maps.scaling(one, one), x),
    ):
        assert torch.equal(augmenter()(x, shown(plane, resampled=False)), expected)


@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_are_exact(turns):
    x = images()
    plane = maps.quarter_turn(number(turns, turns, turns))
    y = augmenter()(x, shown(plane, resampled=False))
    assert torch.equal(y, torch.rot90(x, -turns, (2, 3)))  # y points down: clockwise


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, -2), (3, 2), (-20, 9)])
def test_translation_by_whole_pixels_is_exact_and_mirrors_at_the_edge(right, down):
    x = images()
    plane = maps.translation(number(*[right] * 3), number(*[down] * 3))
    y = augmenter()(x, shown(plane, resampled=False))
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (24, 24), (24, 24)), mode="reflect")
    expected = padded[:, :, 24 - down : 24 - down + R, 24 - right : 24 - right + R]
    assert np.array_equal(y.numpy(), expected)


def literal(image: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Pads far, puts zeros between, filters, reads bilinearly, filters, drops every second."""
    size, pad = image.shape[-1], 6 * R
    h = np.array(SYM6)
    padded = np.pad(image, pad, mode="reflect")

    def along(values: np.ndarray, axis: int, function: object) -> np.ndarray:
        return np.apply_along_axis(function, axis, values)  # type: ignore[call-overload]

    def double(row: np.ndarray) -> np.ndarray:
        zeros = np.zeros(2 * len(row))
        zeros[::2] = row
        return np.convolve(zeros, h * math.sqrt(2))  # sample m at pixel (m - CENTRE) / 2

    twice = along(along(padded, 0, double), 1, double)
    samples = 2 * size + 10
    result = np.zeros((samples, samples))
    for i in range(samples):
        for j in range(samples):
            x, y = ((m - CENTRE) / 2 - (size - 1) / 2 for m in (j, i))
            at_x, at_y, _ = inverse @ np.array([x, y, 1.0])
            column, row = (2 * (at + (size - 1) / 2 + pad) + CENTRE for at in (at_x, at_y))
            c, r = math.floor(column), math.floor(row)
            for dr, in_row in ((0, r + 1 - row), (1, row - r)):
                for dc, in_column in ((0, c + 1 - column), (1, column - c)):
                    result[i, j] += in_row * in_column * twice[r + dr, c + dc]

    def halve(row: np.ndarray) -> np.ndarray:
        return np.array([(row[2 * n : 2 * n + 12] * h).sum() / math.sqrt(2) for n in range(size)])

    return along(along(result, 0, halve), 1, halve)


GENERAL = {
    "nothing": maps.rotation(number(0.0)),
    "a rotation": maps.rotation(number(0.9)),
    "larger": maps.scaling(number(1.7), number(1.7)),
    "much smaller": maps.scaling(number(0.3), number(0.5)),
    "a fraction of a pixel": maps.translation(number(0.3), number(-1.6)),
    "far away": maps.translation(number(25.2), number(-30.7)),
    "all together": maps.translation(number(2.3), number(1.1))
    @ maps.rotation(number(-2.1))
    @ maps.scaling(number(0.8), number(1.3))
    @ maps.rotation(number(0.4)),
}


@pytest.mark.parametrize("what", GENERAL)
def test_resampling_is_the_literal_pipeline(what):
    x = images(1)
    y = augmenter()(x, shown(GENERAL[what], resampled=True))
    inverse = np.linalg.inv(GENERAL[what][0].numpy())
    expected = np.stack([literal(channel.numpy(), inverse) for channel in x[0]])
    np.testing.assert_allclose(y[0].numpy(), expected, rtol=0, atol=2e-6)  # filters in float32


def wave(resolution: int, turned: float = 0.0) -> Tensor:
    """A plane wave of ten pixels, in the image turned by `turned` around its centre."""
    at = torch.arange(resolution, dtype=torch.float64) - (resolution - 1) / 2
    x, y = at[None, :], at[:, None]
    c, s = math.cos(turned), math.sin(turned)
    u, v = c * x + s * y, -s * x + c * y
    return torch.cos(2 * math.pi / 10 * (0.8 * u + 0.6 * v) + 0.3).expand(1, 3, -1, -1)


@pytest.mark.parametrize("angle", [0.3, 2.2, math.pi])
def test_a_turned_wave_is_the_wave_of_the_turned_plane_not_shifted(angle):
    size = 32
    y = augmenter(size)(wave(size), shown(maps.rotation(number(angle)), resampled=True))
    inner = (..., slice(10, 22), slice(10, 22))
    error = (y - wave(size, angle))[inner].abs().max()
    assert error < 0.02  # 0.36 at pi, were the centre that of the taps


def test_a_rotation_undone_gives_the_image_back():
    size = 32
    there, back = (shown(maps.rotation(number(a)), resampled=True) for a in (0.7, -0.7))
    y = augmenter(size)(augmenter(size)(wave(size), there), back)
    inner = (..., slice(10, 22), slice(10, 22))
    assert (y - wave(size))[inner].abs().max() < 0.04


def test_a_smaller_picture_of_fine_stripes_is_grey_and_not_coarse_stripes():
    size = 32
    at = torch.arange(size, dtype=torch.float64)
    stripes = torch.cos(2 * math.pi * 0.4 * at).expand(1, 3, size, size)
    plane = maps.scaling(number(0.55), number(0.55))
    y = augmenter(size)(stripes, shown(plane, resampled=True))
    naive = stripes[..., (at / 0.55 % size).long()]
    assert naive.square().mean() > 0.4
    assert y[..., 8:24].square().mean() < 0.05


def test_colours_are_an_affine_map_of_each_pixel():
    x = images(2)
    colours = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    still = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    plan = Augmentations(plane=still, resampled=torch.zeros(2, dtype=torch.bool), colours=colours)
    y = augmenter()(x, plan)
    for n in range(2):
        for i, j in ((0, 0), (3, 5)):
            expected = colours[n] @ torch.cat([x[n, :, i, j], torch.ones(1, dtype=torch.float64)])
            torch.testing.assert_close(y[n, :, i, j], expected)


def test_an_image_does_not_depend_on_its_batch_mates():
    x, plan = images(12), drawn(12, p=0.2)
    assert 0 < int(plan.resampled.sum()) < 12
    together = augmenter()(x, plan)
    for index, one in enumerate(plan.split(1)):
        alone = augmenter()(x[index : index + 1], one)
        torch.testing.assert_close(alone[0], together[index], rtol=1e-12, atol=1e-12)


def test_single_precision_is_close_and_stays_single():
    x, plan = images(12), drawn(12, p=0.7)
    y = Augmenter(resolution=R)(x.float(), plan)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), augmenter()(x, plan), rtol=0, atol=1e-4)


def test_gradients_of_first_and_second_order_are_those_of_finite_differences():
    plan, net = drawn(2, p=0.8, resolution=4), augmenter(4)
    assert plan.resampled.any()
    x = images(2, resolution=4).requires_grad_(True)

    def squared(values):  # so that there is a second order
        return net(values, plan).square()

    assert gradcheck(squared, (x,))
    assert gradgradcheck(squared, (x,))


def test_the_bilinear_reading_can_be_differentiated_thrice():
    rng = torch.Generator().manual_seed(2)
    grid = torch.rand(2, 3, 3, 2, generator=rng, dtype=torch.float64) * 2 - 1
    x = torch.randn(2, 1, 4, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    y = Bilinear.apply(x, grid)
    expected = torch.nn.functional.grid_sample(x, grid, align_corners=True)
    torch.testing.assert_close(y, expected)
    (first,) = torch.autograd.grad((y**4).sum(), x, create_graph=True)
    (reference,) = torch.autograd.grad((expected**4).sum(), x)
    torch.testing.assert_close(first, reference)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)

    def gradient(v):
        return torch.autograd.grad((Bilinear.apply(v, grid) ** 4).sum(), v, create_graph=True)[0]

    assert gradcheck(gradient, (x,))
    (third,) = torch.autograd.grad(second.sum(), x)
    assert third.isfinite().all() and third.abs().max() > 0
