"""Domain-regularised optimisation against Eq. (4) written out, one image at a time."""

import functools

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.inversion.inversion import Inverter
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.networks.encoder import Encoding

from .conftest import check_equal, literal, mean_square

LAMBDA_VGG, LAMBDA_DOM = 0.3, 2.0


def inverter(world, **changes):
    choices = dict(lambda_vgg=LAMBDA_VGG, lambda_dom=LAMBDA_DOM, steps=20, lr=0.02) | changes
    return InDomainInverter(encoder=world.encoder, perceptual=world.features, **choices)


def terms_of(world, x, w):
    """Eq. (4) for one image x [1, 3, R, R]."""
    g = world.generator.synthesis(w)
    pixel, perceptual = (
        mean_square(x, g),
        mean_square(world.features(x).detach(), world.features(g)),
    )
    return pixel, LAMBDA_VGG * perceptual, LAMBDA_DOM * mean_square(w, world.encoder(g))


def test_equals_the_literal_reference(world):
    found = inverter(world, keep_best=False).invert(world.images, generator=world.generator)
    best = inverter(world).invert(world.images, generator=world.generator)
    for n in range(len(world.images)):
        x = world.images[n : n + 1]
        eq4 = functools.partial(terms_of, world, x)
        path, losses = literal(world.encoder(x), eq4, steps=20, lr=0.02)
        check_equal(found, best, n, path, losses, names=["pixel", "perceptual", "domain"])
    assert (found.losses[-1] < 0.7 * found.losses[0]).all(), "nothing was learned"


def test_noise_drawn_by_id_does_not_depend_on_batch_mates(world):
    method = inverter(world, noise="random", steps=5)
    ids = torch.tensor([10, 11, 12, 13, 14, 15])
    together = method.invert(world.images, generator=world.generator, ids=ids)
    apart = method.invert(world.images[2:3], generator=world.generator, ids=ids[2:3])
    torch.testing.assert_close(apart.codes[0], together.codes[2], rtol=1e-8, atol=0)
    assert torch.equal(apart.noise[1][0], together.noise[1][2])
    again = world.generator.synthesis(together.codes, noise=together.noise)
    torch.testing.assert_close(again, together.images)


def test_regulariser_gradient_flows_through_e_of_g(world):
    """Adam's first step is −lr·sign(gradient); the gradient is taken by differences here."""
    x = world.images[:1]
    found = inverter(world, lambda_vgg=0.0, lambda_dom=50.0, steps=1, lr=1e-3, keep_best=False)
    moved = found.invert(x, generator=world.generator).codes - world.encoder(x)

    def loss(w):
        g = world.generator.synthesis(w)
        return ((x - g) ** 2).mean() + 50 * ((w - world.encoder(g)) ** 2).mean()

    w, h = world.encoder(x).detach(), 1e-5
    slope = torch.zeros_like(w)
    for i in range(w.numel()):
        e = torch.zeros_like(w).view(-1)
        e[i] = h
        e = e.view_as(w)
        slope.view(-1)[i] = (loss(w + e) - loss(w - e)).detach() / (2 * h)
    assert torch.equal(moved.sign(), -slope.sign())
    # The check can fail: without the path through E∘G, some signs differ.
    w_ = w.clone().requires_grad_()
    g = world.generator.synthesis(w_)
    cut = ((x - g) ** 2).mean() + 50 * ((w_ - world.encoder(g).detach()) ** 2).mean()
    (blocked,) = torch.autograd.grad(cut, w_)
    assert not torch.equal(blocked.sign(), slope.sign())


def test_weights_of_zero_drop_their_terms(world):
    calls = []
    world.encoder.register_forward_hook(lambda *_: calls.append(1))
    plain = inverter(world, lambda_dom=0.0, lambda_vgg=0.0, steps=7)
    found = plain.invert(world.images, generator=world.generator)
    assert list(found.terms) == ["pixel"] and len(calls) == 1
    assert torch.equal(found.terms["pixel"], found.losses)


def test_target_features_are_computed_once(world):
    calls = []
    world.features.register_forward_hook(lambda *_: calls.append(1))
    inverter(world, steps=4).invert(world.images, generator=world.generator)
    assert len(calls) == 1 + 5


def test_frozen_parameters_stay_and_get_no_gradients(world):
    nets = (world.generator, world.encoder, world.features)
    before = [t.clone() for net in nets for t in net.state_dict().values()]
    inverter(world).invert(world.images, generator=world.generator)
    after = [t for net in nets for t in net.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for net in nets for p in net.parameters())


def test_codes_stay_in_single_precision_under_autocast(world):
    for net in (world.generator, world.encoder, world.features):
        net.float()
    x = world.images.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = inverter(world, steps=10).invert(x, generator=world.generator)
    full = inverter(world, steps=10).invert(x, generator=world.generator)
    assert found.codes.dtype == torch.float32 and found.losses.dtype == torch.float32
    torch.testing.assert_close(found.losses[-1], full.losses[-1], rtol=0.05, atol=0)
    # Small steps on codes would be lost in bfloat16.
    assert not torch.equal(found.codes, found.codes.bfloat16().float())


def test_nan_image_is_reported_and_leaves_the_others_alone(world):
    x = world.images.clone()
    x[2, 0, 0, 0] = torch.nan
    found = inverter(world, steps=5).invert(x, generator=world.generator)
    clean = inverter(world, steps=5).invert(world.images, generator=world.generator)
    assert found.failed.tolist() == [False, False, True, False, False, False]
    rest = [0, 1, 3, 4, 5]
    torch.testing.assert_close(found.codes[rest], clean.codes[rest], rtol=1e-12, atol=0)


def test_single_w_stays_one_code_for_all_layers(world):
    found = inverter(world, space="w", steps=6).invert(world.images, generator=world.generator)
    assert found.codes.shape == (6, 3, 5)
    assert torch.equal(found.codes[:, 0], found.codes[:, 2])
    assert (found.losses[-1] < found.losses[0]).all()


def test_settings_are_plain_and_the_protocol_is_met(world):
    import json

    method = inverter(world)
    assert json.loads(json.dumps(method.settings))["lambda_dom"] == LAMBDA_DOM
    assert isinstance(method, Inverter)
    assert list(method.networks) == [world.encoder, world.features]


def test_errors_name_the_key(world):
    with pytest.raises(ConfigError, match=r"inversion\.lambda_vgg=0"):
        InDomainInverter(encoder=world.encoder, perceptual=None)
    with pytest.raises(ConfigError, match="steps=-1"):
        inverter(world, steps=-1)
    with pytest.raises(ConfigError, match="w_plus, w or z"):
        inverter(world, space="v")
    with pytest.raises(ConfigError, match=r"data\.resolution"):
        inverter(world).invert(world.images[..., :4], generator=world.generator)
    with pytest.raises(ConfigError, match="training mode"):
        world.encoder.train()
        inverter(world).invert(world.images, generator=world.generator)


def test_the_maps_of_a_noise_encoder_stay_as_they_are(world):
    """The codes move as they would under a generator whose buffers are those maps."""
    rng = torch.Generator().manual_seed(5)
    maps = [torch.randn(1, 1, s, s, generator=rng, dtype=torch.float64) for s in (4, 8)]
    plain = inverter(world, steps=6).invert(world.images, generator=world.generator)
    world.encoder.encode = lambda x: Encoding(world.encoder(x), maps)
    found = inverter(world, steps=6).invert(world.images, generator=world.generator)
    assert all(torch.equal(m, f[3:4]) for m, f in zip(maps, found.noise, strict=True))
    assert not torch.allclose(found.codes, plain.codes, rtol=1e-3)
    world.encoder.encode = lambda x: Encoding(world.encoder(x))
    world.generator.noise_0, world.generator.noise_1 = maps[0][0, 0], maps[1][0, 0]
    expected = inverter(world, steps=6).invert(world.images, generator=world.generator)
    torch.testing.assert_close(found.codes, expected.codes, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.images, expected.images)


def test_the_space_is_the_encoders_own_unless_it_is_given(world):
    kw = dict(encoder=world.encoder, perceptual=None, lambda_vgg=0, latent="w", steps=2)
    own, given = InDomainInverter(**kw), InDomainInverter(**kw, space="w_plus")
    found = own.invert(world.images, generator=world.generator)
    assert torch.equal(found.codes[:, 0], found.codes[:, 2])
    found = given.invert(world.images, generator=world.generator)
    assert not torch.equal(found.codes[:, 0], found.codes[:, 2])
    assert (own.settings["space"], given.settings["space"]) == ("w", "w_plus")


def test_a_start_without_the_encoder(world):
    mean = inverter(world, init="mean", steps=0).invert(world.images, generator=world.generator)
    assert torch.equal(mean.codes[2], world.generator.w_avg)
    ids = torch.arange(6)
    random = inverter(world, init="normal", steps=8, early_stop=2, early_stop_gain=0.1)
    together = random.invert(world.images, generator=world.generator, ids=ids)
    apart = random.invert(world.images[4:5], generator=world.generator, ids=ids[4:5])
    torch.testing.assert_close(apart.codes[0], together.codes[4], rtol=1e-8, atol=0)
    torch.testing.assert_close(apart.losses[:, 0], together.losses[:, 4], rtol=1e-8, atol=0)
    with pytest.raises(ConfigError, match=r"inversion\.init is 'e': expected encoder, mean"):
        inverter(world, init="e")
