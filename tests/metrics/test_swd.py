"""SWD against a literal form in numpy and scipy, float64, with explicit loops."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from idinvert.errors import DataError
from idinvert.metrics.laplacian import laplacian_level, pyramid_resolutions
from idinvert.metrics.swd import draw_corners, draw_directions, swd

SMALL = {"patches": 5, "repeats": 2, "directions": 4}


def images(n: int, size: int, *, seed: int) -> torch.Tensor:
    """Smooth random images with noise, uint8 [n, 3, size, size]."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 5, 5, generator=rng) * 200
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    noise = 20 * torch.randn(n, 3, size, size, generator=rng)
    return (smooth + noise).clamp(0, 255).round().to(torch.uint8)


def binomial(channel: np.ndarray) -> np.ndarray:
    """The 25 taps one after the other; borders mirrored without the edge."""
    taps = np.array([1, 4, 6, 4, 1]) / 16
    height, width = channel.shape
    padded = np.pad(channel, 2, mode="reflect")
    result = np.zeros_like(channel)
    for i in range(5):
        for j in range(5):
            result += taps[i] * taps[j] * padded[i : i + height, j : j + width]
    return result


def reference_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Laplacian pyramid of [3, R, R] down to 16 px, by loops over channels and pixels."""
    levels, current = [], image.astype(np.float64)
    while current.shape[1] // 2 >= 16:
        smaller = np.stack([binomial(c)[::2, ::2] for c in current])
        spread = np.zeros_like(current)
        for c in range(3):
            for y in range(smaller.shape[1]):
                for x in range(smaller.shape[2]):
                    spread[c, 2 * y, 2 * x] = smaller[c, y, x]
        levels.append(current - 4 * np.stack([binomial(c) for c in spread]))
        current = smaller
    return [*levels, current]


def reference_descriptors(levels: list[np.ndarray], corners: np.ndarray) -> np.ndarray:
    """Patches one by one, then standardised a channel over the set."""
    patches = np.array(
        [
            level[:, y : y + 7, x : x + 7]
            for level, places in zip(levels, corners, strict=True)
            for y, x in places
        ]
    )
    for channel in range(3):
        values = patches[:, channel]
        patches[:, channel] = (values - values.mean()) / values.std()
    return patches.reshape(len(patches), -1)


def reference_swd(outputs: torch.Tensor, reals: torch.Tensor, *, seed: int) -> dict[str, float]:
    """The protocol word by word; only the random draws are the project's."""
    size = outputs.shape[-1]
    pyramids = {
        "outputs": [reference_pyramid(image) for image in outputs.numpy()],
        "reals": [reference_pyramid(image) for image in reals.numpy()],
    }
    result = {}
    for level in range(len(pyramids["reals"][0])):
        sets = {}
        for name, pyramid in pyramids.items():
            corners = draw_corners(
                len(outputs), size, patches=SMALL["patches"], seed=seed, name=name
            ).numpy()
            sets[name] = reference_descriptors([levels[level] for levels in pyramid], corners)
        units = draw_directions(seed=seed, size=size, repeats=2, directions=4).numpy()
        distances = [
            np.mean(np.abs(np.sort(sets["outputs"] @ unit) - np.sort(sets["reals"] @ unit)))
            for unit in units
        ]
        result[f"swd_{size}"] = 1e3 * float(np.mean(distances))
        size //= 2
    return {"swd": float(np.mean(list(result.values()))), **result}


@pytest.mark.parametrize(("size", "levels"), [(16, 1), (32, 2), (64, 3), (50, 2)])
def test_swd_equals_the_literal_form(size, levels):
    outputs, reals = images(6, size, seed=0), images(6, size, seed=1)
    expected = reference_swd(outputs, reals, seed=3)
    assert len(expected) == levels + 1
    exact = swd(outputs, reals, seed=3, dtype=torch.float64, **SMALL)
    assert list(exact) == list(expected)
    for name, value in expected.items():
        assert exact[name] == pytest.approx(value, rel=1e-9), name
    single = swd(outputs, reals, seed=3, **SMALL)
    assert single["swd"] == pytest.approx(expected["swd"], rel=1e-4)


def test_the_pyramid_equals_scipys_mirrored_convolution():
    image = images(1, 64, seed=2)[0].numpy().astype(np.float64)
    row = np.array([1.0, 4, 6, 4, 1]) / 16
    kernel = np.outer(row, row)[None]
    down = scipy.ndimage.convolve(image, kernel, mode="mirror")[:, ::2, ::2]
    spread = np.zeros_like(image)
    spread[:, ::2, ::2] = down
    finest = image - scipy.ndimage.convolve(spread, 4 * kernel, mode="mirror")
    ours = laplacian_level(torch.from_numpy(image)[None], 0, resolutions=pyramid_resolutions(64))
    np.testing.assert_allclose(ours[0].numpy(), finest, atol=1e-10)


def test_the_pyramid_adds_up_to_the_image():
    from idinvert.metrics.laplacian import up

    image = images(2, 64, seed=3).double()
    resolutions = pyramid_resolutions(64)
    levels = [laplacian_level(image, i, resolutions=resolutions) for i in range(3)]
    rebuilt = levels[2]
    for level in (levels[1], levels[0]):
        rebuilt = level + up(rebuilt)
    torch.testing.assert_close(rebuilt, image)


def test_corners_reach_every_place_and_sets_draw_apart():
    corners = draw_corners(50, 16, patches=128, seed=0, name="outputs")
    assert corners.min() == 0
    assert corners.max() == 16 - 7
    assert not torch.equal(corners, draw_corners(50, 16, patches=128, seed=0, name="reals"))
    units = draw_directions(seed=0, size=16, repeats=4, directions=128)
    assert units.shape == (512, 147)
    torch.testing.assert_close(units.norm(dim=1), torch.ones(512, dtype=torch.float64))


def test_the_seed_decides_and_the_batch_size_does_not():
    outputs, reals = images(9, 32, seed=4), images(9, 32, seed=5)
    first = swd(outputs, reals, **SMALL)
    assert first == swd(outputs, reals, **SMALL)
    assert first != swd(outputs, reals, seed=1, **SMALL)
    small = swd(outputs, reals, batch_size=2, **SMALL)
    assert small["swd"] == pytest.approx(first["swd"], rel=1e-5)


def test_the_global_generator_and_the_images_are_left_alone():
    outputs = images(3, 16, seed=6)
    before, state = outputs.clone(), torch.get_rng_state()
    swd(outputs, outputs, **SMALL)
    assert torch.equal(outputs, before)
    assert torch.equal(state, torch.get_rng_state())


def test_it_is_blind_to_gain_and_offset_and_sees_texture():
    reals = images(40, 32, seed=7)
    options = {"patches": 32, "repeats": 1, "directions": 64}
    floor = swd(reals, reals, **options)["swd"]
    brighter = (reals.float() * 0.5 + 40).round().to(torch.uint8)
    blurred = torch.nn.functional.avg_pool2d(reals.float(), 3, 1, 1).round().to(torch.uint8)
    assert floor > 0
    assert swd(brighter, reals, **options)["swd"] == pytest.approx(floor, rel=0.15)
    assert swd(blurred, reals, **options)["swd"] > 1.5 * floor


def test_a_collapsed_set_has_a_finite_distance():
    reals = images(4, 16, seed=8)
    value = swd(torch.full_like(reals, 128), reals, **SMALL)["swd"]
    assert np.isfinite(value)
    assert value > 100


def test_errors_say_what_was_got():
    reals = images(4, 32, seed=9)
    with pytest.raises(DataError, match="3 outputs and 4 real"):
        swd(reals[:3], reals)
    with pytest.raises(DataError, match="uint8"):
        swd(reals.float(), reals)
    with pytest.raises(DataError, match=r"\[16, 16\] px and reals \[32, 32\] px"):
        swd(reals[..., :16, :16], reals)
    with pytest.raises(DataError, match="at least 16 px"):
        pyramid_resolutions(8)
    with pytest.raises(DataError, match=r"level of 33 px.*data\.resolution"):
        pyramid_resolutions(66)
