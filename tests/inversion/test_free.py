"""Free optimisation: Eq. (4)'s first two terms written out, and starts drawn by image id."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.inversion.optimize_codes import FreeInverter, InDomainInverter

from .conftest import literal, mean_square

IDS = torch.tensor([10, 11, 12, 13, 14, 15])


def inverter(world, **changes):
    choices = dict(lambda_vgg=0.3, steps=20, lr=0.02) | changes
    return FreeInverter(perceptual=world.features, **choices)


def reference(world, x, start, *, steps=20, lr=0.02):
    """The last code, and the losses, of one image."""

    def terms_of(w):
        g = world.generator.synthesis(w.expand(-1, 3, -1))
        perceptual = mean_square(world.features(x).detach(), world.features(g))
        return mean_square(x, g), 0.3 * perceptual

    path, losses = literal(start, terms_of, steps=steps, lr=lr)
    return path[-1], losses[:, 0]


@pytest.mark.parametrize("space", ["w_plus", "w"])
def test_equals_the_literal_reference_from_the_mean(world, space):
    method = inverter(world, init="mean", space=space, keep_best=False)
    found = method.invert(world.images, generator=world.generator)
    rows = slice(0, 1) if space == "w" else slice(None)
    for n in range(len(world.images)):
        start = world.generator.w_avg[None, rows]
        w, losses = reference(world, world.images[n : n + 1], start)
        torch.testing.assert_close(found.codes[n], w[0].expand(3, -1), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(found.losses[:, n], losses, rtol=1e-8, atol=0)


@pytest.mark.parametrize("multi", [False, True])
def test_a_random_start_is_m_of_a_z_that_belongs_to_the_image(world, multi):
    generator = world.generator.become_multi_w() if multi else world.generator
    found = inverter(world, steps=0).invert(world.images, generator=generator, ids=IDS)
    z = torch.randn(4000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cloud = generator.mapping(z)  # what codes of M look like
    for n in range(6):  # the start lies where M puts codes: within reach of its nearest samples
        nearest = (cloud - found.codes[n]).flatten(1).norm(dim=1).min()
        spread = (cloud - cloud.mean(0)).flatten(1).norm(dim=1).mean()
        assert nearest < 0.4 * spread
        assert torch.equal(found.codes[n, 0], found.codes[n, 1]) != multi
    assert len({tuple(c.flatten().tolist()) for c in found.codes}) == 6
    other = inverter(world, steps=0, seed=1).invert(world.images, generator=generator, ids=IDS)
    assert not torch.isclose(other.codes, found.codes).flatten(1).all(1).any()


def test_random_start_equals_the_reference_and_the_batch_does_not_matter(world):
    method = inverter(world, keep_best=False)
    together = method.invert(world.images, generator=world.generator, ids=IDS)
    start = inverter(world, steps=0).invert(world.images, generator=world.generator, ids=IDS).codes
    w, losses = reference(world, world.images[2:3], start[2:3])
    torch.testing.assert_close(together.codes[2], w[0], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(together.losses[:, 2], losses, rtol=1e-8, atol=0)
    pick = [5, 2]
    apart = method.invert(world.images[pick], generator=world.generator, ids=IDS[pick])
    torch.testing.assert_close(apart.codes, together.codes[pick], rtol=1e-8, atol=0)
    torch.testing.assert_close(apart.losses, together.losses[:, pick], rtol=1e-8, atol=0)


def test_batch_independence_holds_with_early_stop_and_schedule(world):
    method = inverter(world, early_stop=2, early_stop_gain=0.05, schedule="cosine", lr=0.05)
    together = method.invert(world.images, generator=world.generator, ids=IDS)
    stops = (together.losses[1:] != together.losses[:-1]).sum(0)
    assert stops.min() < 20, "no image stopped early"
    for n in range(6):
        alone = method.invert(
            world.images[n : n + 1], generator=world.generator, ids=IDS[n : n + 1]
        )
        torch.testing.assert_close(alone.codes[0], together.codes[n], rtol=1e-8, atol=0)
        torch.testing.assert_close(alone.losses[:, 0], together.losses[:, n], rtol=1e-8, atol=0)


def test_is_in_domain_without_its_regulariser(world):
    """The same start and λ_dom = 0 give the same path; the regulariser gives another."""
    kw = dict(perceptual=world.features, lambda_vgg=0.3, steps=10, init="normal", seed=4)
    free = FreeInverter(**kw).invert(world.images, generator=world.generator, ids=IDS)
    bare = InDomainInverter(encoder=world.encoder, lambda_dom=0.0, **kw)
    tied = InDomainInverter(encoder=world.encoder, lambda_dom=2.0, **kw)
    same = bare.invert(world.images, generator=world.generator, ids=IDS)
    torch.testing.assert_close(free.codes, same.codes, rtol=1e-12, atol=0)
    other = tied.invert(world.images, generator=world.generator, ids=IDS)
    assert not torch.allclose(free.codes, other.codes, rtol=1e-3)


def test_settings_and_errors(world):
    assert inverter(world).settings["method"] == "free" and inverter(world).settings["seed"] == 0
    assert "seed" not in inverter(world, init="mean").settings
    with pytest.raises(ConfigError, match="draws codes by image id"):
        inverter(world).invert(world.images, generator=world.generator)
    with pytest.raises(ConfigError, match=r"inversion\.schedule is 'ramp'"):
        inverter(world, schedule="ramp")
    with pytest.raises(ConfigError, match=r"inversion\.early_stop is 0"):
        inverter(world, early_stop=0)
    with pytest.raises(ConfigError, match=r"inversion\.early_stop_gain"):
        inverter(world, early_stop_gain=1.0)
    with pytest.raises(ConfigError, match=r"inversion\.betas"):
        inverter(world, betas=[0.9])
    world.generator.c_dim = 3
    with pytest.raises(ConfigError, match="conditional"):
        inverter(world).invert(world.images, generator=world.generator, ids=IDS)
