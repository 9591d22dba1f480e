"""Layer inversion: residuals against a literal reading, the start, the regulariser, refusals."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.inversion.layers import LayersInverter
from idinvert.inversion.optimize_codes import FreeInverter
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone

from .test_multi_code import generators, images_of


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        backbone = BaseBackbone(resolution=16, channels=8, channels_max=8)
        made = Encoder(backbone=backbone, num_layers=6, w_dim=6)
    return made.double().eval().requires_grad_(False)


def inverter(encoder, **given):
    usual = dict(perceptual=None, lambda_vgg=0, layer=2, steps=5, lr=0.05)
    return LayersInverter(encoder=encoder, **{**usual, **given})


def test_it_starts_at_the_encoders_image_and_resumes_to_its_own(encoder):
    for generator in generators().values():
        _, x = images_of(generator, 2)
        for layer in (1, 3, 5):
            found = inverter(encoder, layer=layer).invert(x, generator=generator)
            expected = generator.synthesis(encoder(x))
            torch.testing.assert_close(found.start_images, expected, rtol=1e-12, atol=1e-12)
            assert (found.losses.min(0).values < found.losses[0]).all()
            resumed = generator.synthesis(found.codes, resume=found.state)
            torch.testing.assert_close(found.images, resumed, rtol=1e-12, atol=1e-12)
            alone = inverter(encoder, layer=layer).invert(x[1:], generator=generator)
            torch.testing.assert_close(alone.images[0], found.images[1], rtol=1e-8, atol=1e-10)


def test_residuals_move_as_in_a_literal_reading(world):
    """Adam with halved rates on |x − G_f(r_2)|, features and the residuals' mean squares."""
    generator, x = world.generator, world.images[:1]
    kw = dict(encoder=world.encoder, perceptual=world.features, lambda_vgg=0.05, lr=0.05)
    method = LayersInverter(**kw, layer=2, lambda_reg=0.5, steps=15, keep_best=False)
    found = method.invert(x, generator=generator)
    w0 = world.encoder(x).detach()
    d0, d1, d2 = (
        torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
        for shape in (w0.shape, (1, 6, 8, 8), (1, 6, 8, 8))
    )
    adam = torch.optim.Adam([d0, d1, d2], lr=0.05, eps=1e-8)
    for step in range(16):
        first = generator.synthesis(w0 + d0, stop=1)
        second = generator.synthesis(
            w0 + d0, stop=2, resume=first._replace(features=first.features + d1)
        )
        g = generator.synthesis(w0 + d0, resume=second._replace(features=second.features + d2))
        pixel = (x - g).abs().mean()
        features = 0.05 * (world.features(x) - world.features(g)).abs().mean()
        residuals = 0.5 * sum((d**2).mean() for d in (d0, d1, d2))
        for name, term in (("pixel", pixel), ("perceptual", features), ("residuals", residuals)):
            got = found.terms[name][step, 0]
            torch.testing.assert_close(got, term.detach(), rtol=1e-8, atol=1e-12)
        adam.zero_grad()
        (pixel + features + residuals).backward()
        adam.param_groups[0]["lr"] = 0.05 * 0.5 ** sum(step >= at for at in (4, 6, 9))
        adam.step()


def test_more_residuals_rebuild_what_codes_cannot_and_the_regulariser_holds_them(encoder):
    generator = generators()["stylegan"]
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 16, 16, generator=rng, dtype=torch.float64) * 2 - 1
    kw = dict(steps=80, lr=0.05, lambda_reg=0.0)
    errors = [
        (inverter(encoder, layer=n, **kw).invert(x, generator=generator).images - x).abs().mean()
        for n in (1, 3, 5)
    ]
    codes = FreeInverter(perceptual=None, lambda_vgg=0, steps=80, lr=0.05)
    found = codes.invert(x, generator=generator, ids=torch.arange(2))
    assert errors[2] < errors[1] < errors[0] < (found.images - x).abs().mean()
    held = inverter(encoder, layer=3, **{**kw, "lambda_reg": 1e6, "steps": 20, "lr": 1e-4})
    found = held.invert(x, generator=generator)
    torch.testing.assert_close(found.images, found.start_images, rtol=0, atol=0.05)


def test_what_makes_no_sense_is_refused(encoder):
    generator = generators()["stylegan"]
    _, x = images_of(generator, 1)
    for layer, words in ((6, r"leaves nothing of the generator.*mean 5"), (0, r"is 0\. .*mean 1")):
        with pytest.raises(ConfigError, match=words):
            inverter(encoder, layer=layer).invert(x, generator=generator)
    with pytest.raises(ConfigError, match=r"inversion\.optimizer is 'lbfgs_gn'"):
        inverter(encoder, optimizer="lbfgs_gn")
