"""Observations against matrices in float64, and what methods make of them."""

import copy

import numpy as np
import pytest
import scipy.linalg
import torch

from idinvert.inversion import optimize_codes
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.inversion import in_turns
from idinvert.inversion.multi_code import MultiCodeInverter
from idinvert.inversion.observation import (
    LowResolution,
    Luma,
    Observation,
    Projection,
    Region,
    Restoring,
    hadamard,
    least_variation,
)

R = 8
IDS = torch.arange(6)
MASK = torch.ones(1, 1, R, R, dtype=torch.float64)
MASK[..., 2:6, 1:5] = 0
OBSERVATIONS = {
    "luma": Luma(),
    "low": LowResolution(2),
    "region": Region(mask=MASK, fill=0.0, share=MASK.mean()),
    "projection": Projection(resolution=R, ratio=0.25, seed=3),
}


def matrix_of(name):
    """φ as a matrix [m, 3R²] on x.flatten(), written anew with numpy."""
    n = 3 * R * R
    grid = np.arange(n).reshape(3, R, R)
    if name == "luma":
        found = np.zeros((R * R, n))
        for channel, weight in enumerate((0.299, 0.587, 0.114)):
            found[np.arange(R * R), grid[channel].ravel()] = weight
        return found
    if name == "low":
        rows = []
        for c in range(3):
            for i in range(0, R, 2):
                for j in range(0, R, 2):
                    row = np.zeros(n)
                    row[grid[c, i : i + 2, j : j + 2].ravel()] = 0.25
                    rows.append(row)
        return np.stack(rows)
    if name == "region":
        return np.diag(np.tile(MASK.numpy().ravel(), 3))
    draw = OBSERVATIONS[name]
    signs, order = np.diag(draw.signs.numpy()), np.eye(n)[draw.order.numpy()]
    blocks = scipy.linalg.block_diag(*[scipy.linalg.hadamard(R * R) / R] * 3)
    return (blocks @ order @ signs)[draw.rows.numpy()]


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, R, R, generator=rng, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations_are_their_matrices(name, images):
    phi, matrix = OBSERVATIONS[name].like(images), matrix_of(name)
    x = images.clone().requires_grad_()
    seen = phi.seen(x)
    expected = images.flatten(1).numpy() @ matrix.T
    np.testing.assert_allclose(seen.detach().flatten(1).numpy(), expected, atol=1e-12)
    y = torch.randn(seen.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (adjoint,) = torch.autograd.grad((seen * y).sum(), x)
    np.testing.assert_allclose(
        adjoint.flatten(1).numpy(), y.flatten(1).numpy() @ matrix, atol=1e-12
    )
    products = (seen * y).flatten(1).sum(1), (images * adjoint).flatten(1).sum(1)
    torch.testing.assert_close(*products, rtol=1e-12, atol=1e-12)
    real = seen.detach()
    torch.testing.assert_close(phi.seen(phi.lifted(real)), real, rtol=0, atol=1e-12)
    if name != "luma":  # grey is not the least image
        inverse = real.flatten(1).numpy() @ np.linalg.pinv(matrix).T
        np.testing.assert_allclose(phi.lifted(real).flatten(1).numpy(), inverse, atol=1e-10)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_what_is_known_is_put_in_and_the_rest_stays(name, images):
    phi = OBSERVATIONS[name].like(images)
    seen, other = phi.seen(images), images.flip(0)
    kept = phi.kept(other, seen)
    torch.testing.assert_close(phi.seen(kept), seen, rtol=0, atol=1e-12)
    if name == "luma":  # Cb and Cr are those of the other image
        rows = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
        chroma = [np.einsum("kc,nchw->nkhw", rows, one.numpy()) for one in (kept, other)]
        np.testing.assert_allclose(*chroma, atol=1e-9)
    if name == "region":
        assert torch.equal(kept[..., 2:6, 1:5], other[..., 2:6, 1:5])
    smooth = least_variation(phi, seen)
    torch.testing.assert_close(phi.seen(smooth), seen, rtol=0, atol=1e-9)

    def variation(x):
        dx, dy = np.diff(x, axis=-1)[..., :-1, :], np.diff(x, axis=-2)[..., :, :-1]
        return np.sqrt((dx**2 + dy**2).sum(1)).sum()

    assert variation(smooth.numpy()) <= variation(phi.lifted(seen).numpy()) + 1e-6


def test_the_projection_follows_from_its_seed_and_the_transform_is_hadamards(images):
    one, again = (Projection(resolution=R, ratio=0.1, seed=4) for _ in range(2))
    assert torch.equal(one.like(images).seen(images), again.like(images).seen(images))
    other = Projection(resolution=R, ratio=0.1, seed=5)
    assert not torch.equal(one.rows, other.rows) and len(one.rows) == round(0.1 * 192)
    x = torch.randn(2, 16, dtype=torch.float64)
    torch.testing.assert_close(hadamard(x), x @ torch.from_numpy(scipy.linalg.hadamard(16) / 4.0))
    assert one.like(images) is one and one.signs.dtype == torch.float64
    assert (moved := one.like(images.float())).signs.dtype == torch.float32
    assert moved.like(images.float()) is moved, "it is moved once"


def methods(world, **changes):
    """Each method that takes an observation, two steps long."""
    shared = {"perceptual": world.features, "lambda_vgg": 0.3, **changes}
    return {
        "encoder": EncoderInverter(encoder=world.encoder),
        "in_domain": optimize_codes.InDomainInverter(encoder=world.encoder, steps=2, **shared),
        "image2stylegan": optimize_codes.Image2StyleGANInverter(steps=2, **shared),
        "free": optimize_codes.FreeInverter(steps=2, **shared),
    }


IDENTITIES = {
    "all": Observation(),
    "no hole": Region(mask=torch.ones(1, 1, R, R).double(), fill=0.0, share=1.0),
}


def test_an_observation_of_everything_is_plain_inversion(world):
    for name, method in methods(world).items():
        plain = method.invert(world.images, generator=world.generator, ids=IDS)
        for what, phi in IDENTITIES.items():
            restoring = Restoring(method, phi)
            found = restoring.invert(world.images, generator=world.generator, ids=IDS)
            if what == "no hole" and name in ("encoder", "in_domain"):
                # E is given the image that fills a hole, which is rounded.
                torch.testing.assert_close(found.codes, plain.codes, rtol=1e-6, atol=1e-9)
                continue
            assert torch.equal(found.codes, plain.codes), (name, what)
            assert torch.equal(found.losses, plain.losses), (name, what)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_methods_see_nothing_but_the_observation(name, world):
    """Images that differ where φ is blind have one result; the loss is that of the equation."""
    phi = OBSERVATIONS[name].like(world.images)
    seen = phi.seen(world.images)
    noise = torch.randn(
        world.images.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64
    )
    hidden = noise - phi.lifted(phi.seen(noise))
    if name == "luma":  # grey is not the least image
        hidden = noise - phi.seen(noise)
    other = world.images + 0.1 * hidden
    assert (other - world.images).abs().max() > 0.01
    for method_name, method in methods(world).items():
        restoring = Restoring(method, OBSERVATIONS[name])
        assert restoring.settings == method.settings and restoring.networks == method.networks
        given = {"generator": world.generator, "ids": IDS}
        one, two = (restoring.invert(x, **given) for x in (world.images, other))
        torch.testing.assert_close(one.codes, two.codes, rtol=0, atol=1e-6)
        in_turns(restoring, slots=4)
        turns = restoring.invert(world.images, **given)
        torch.testing.assert_close(turns.losses, one.losses, rtol=1e-8, atol=1e-12)
        if method_name != "free":
            continue
        g = one.start_images
        pixel = (phi.seen(g) - seen).square().flatten(1).mean(1)
        pictures = [world.features(phi.picture(y)) for y in (phi.seen(g), seen)]
        features = 0.3 * (pictures[0] - pictures[1]).square().flatten(1).mean(1)
        share = MASK.mean() if name == "region" else 1.0
        torch.testing.assert_close(one.losses[0], (pixel + features) / share)


def test_several_codes_restore_too(several_codes, world):
    method, generator, images = several_codes
    plain = method.invert(images, generator=generator, ids=IDS[:3])
    found = Restoring(method, Observation()).invert(images, generator=generator, ids=IDS[:3])
    assert torch.equal(found.losses, plain.losses)
    low = Restoring(method, LowResolution(2)).invert(images, generator=generator, ids=IDS[:3])
    assert low.losses[-1].lt(low.losses[0]).all() and not torch.equal(low.losses, plain.losses)


@pytest.fixture
def several_codes():
    from idinvert.networks.stylegan2 import StyleGAN2Generator

    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGAN2Generator(
            resolution=R, z_dim=5, w_dim=5, channels=[6, 6], mapping_depth=1
        )
    generator = copy.deepcopy(generator).double().eval().requires_grad_(False)
    images = torch.rand(3, 3, R, R, generator=torch.Generator().manual_seed(1)).double() * 2 - 1
    method = MultiCodeInverter(
        perceptual=None, lambda_vgg=0.0, codes=3, layer=2, steps=3, optimizer="adam", lr=0.05
    )
    return method, generator, images
