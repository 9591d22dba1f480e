"""Image2StyleGAN against its objective written out, one image at a time."""

import functools

import pytest
import torch
from torch import nn

from idinvert.errors import ConfigError
from idinvert.inversion.inversion import Inverter
from idinvert.inversion.optimize_codes import Image2StyleGANInverter

from .conftest import check_equal, literal, mean_square


def inverter(world, **changes):
    choices = dict(lambda_vgg=0.3, lambda_pixel=0.7, steps=20, lr=0.02) | changes
    return Image2StyleGANInverter(perceptual=world.features, **choices)


def test_equals_the_literal_reference(world):
    last = inverter(world, keep_best=False).invert(world.images, generator=world.generator)
    best = inverter(world).invert(world.images, generator=world.generator)

    def terms_of(x, w):
        g = world.generator.synthesis(w)
        pairs = zip(world.features.taps(x), world.features.taps(g), strict=True)
        perceptual = sum(0.3 * mean_square(f.detach(), f_g) for f, f_g in pairs)
        return 0.7 * mean_square(x, g), perceptual

    for n in range(len(world.images)):
        objective = functools.partial(terms_of, world.images[n : n + 1])
        path, losses = literal(world.generator.w_avg[None], objective, steps=20, lr=0.02)
        check_equal(last, best, n, path, losses, names=["pixel", "perceptual"])
    assert (last.losses[-1] < 0.9 * last.losses[0]).all(), "nothing was learned"
    assert not torch.equal(last.codes[:, 0], last.codes[:, 1]), "the layers did not part"


def test_a_uniform_start_is_drawn_by_id_and_w_stays_one_code(world):
    method = inverter(world, init="uniform", space="w", steps=2)
    ids = torch.arange(10, 16)
    found = method.invert(world.images, generator=world.generator, ids=ids)
    alone = method.invert(world.images[3:4], generator=world.generator, ids=ids[3:4])
    torch.testing.assert_close(alone.codes[0], found.codes[3], rtol=1e-8, atol=0)
    assert torch.equal(found.codes[:, 0], found.codes[:, 2])
    with pytest.raises(ConfigError, match=r"inversion\.init=uniform draws codes by image id"):
        method.invert(world.images, generator=world.generator)


def test_w_is_refused_where_each_layer_has_its_own(world):
    with pytest.raises(ConfigError, match=r"inversion\.space=w_plus"):
        inverter(world, space="w").invert(world.images, generator=world.generator.become_multi_w())


def test_needs_no_encoder_and_meets_the_protocol(world):
    method = inverter(world)
    assert isinstance(method, Inverter) and list(method.networks) == [world.features]
    assert method.settings["method"] == "image2stylegan" and "seed" not in method.settings
    assert inverter(world, noise="random", seed=3).settings["seed"] == 3


def test_weights_of_zero_drop_their_terms(world):
    pixels = Image2StyleGANInverter(perceptual=None, lambda_vgg=0.0, steps=2)
    found = pixels.invert(world.images, generator=world.generator)
    assert list(found.terms) == ["pixel"]
    features = inverter(world, lambda_pixel=0.0, steps=2)
    assert list(features.invert(world.images, generator=world.generator).terms) == ["perceptual"]


def test_errors_name_the_key(world):
    with pytest.raises(ConfigError, match=r"inversion\.lambda_vgg=0"):
        Image2StyleGANInverter(perceptual=None)
    with pytest.raises(ConfigError, match=r"inversion\.lambda_pixel=1"):
        inverter(world, lambda_pixel=0.0, lambda_vgg=0.0)
    with pytest.raises(ConfigError, match="Identity gives one layer"):
        Image2StyleGANInverter(perceptual=nn.Identity())
    with pytest.raises(ConfigError, match=r"inversion\.init is 'men': expected mean, random"):
        inverter(world, init="men")
