"""Inversion by the encoder alone."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.inversion import Inverter
from idinvert.networks.encoder import Encoding


def test_is_e_then_g(world):
    method = EncoderInverter(encoder=world.encoder)
    found = method.invert(world.images, generator=world.generator)
    codes = world.encoder(world.images)
    rebuilt = world.generator.synthesis(codes)
    assert torch.equal(found.codes, codes) and torch.equal(found.images, rebuilt)
    expected = (world.images - rebuilt).square().flatten(1).mean(1)
    torch.testing.assert_close(found.losses, expected[None])
    assert found.best_step.tolist() == [0] * 6 and not found.failed.any() and found.seconds > 0
    assert not found.images.requires_grad and isinstance(method, Inverter)


def test_a_misfit_is_refused(world):
    world.generator.num_layers = 4
    with pytest.raises(ConfigError, match=r"\[N, 4, 5\]; change encoder or generator"):
        EncoderInverter(encoder=world.encoder).invert(world.images, generator=world.generator)


def test_the_maps_of_a_noise_encoder_are_what_g_is_given(world):
    rng = torch.Generator().manual_seed(5)
    maps = [torch.randn(6, 1, 4, 4, generator=rng, dtype=torch.float64), torch.zeros(1, 1, 8, 8)]
    codes = world.encoder(world.images)
    world.encoder.encode = lambda x: Encoding(world.encoder(x), [m[: len(x)] for m in maps])
    found = EncoderInverter(encoder=world.encoder).invert(world.images, generator=world.generator)
    torch.testing.assert_close(found.images, world.generator.synthesis(codes, noise=maps))
    assert [tuple(m.shape) for m in found.noise] == [(6, 1, 4, 4), (6, 1, 8, 8)]
    none = EncoderInverter(encoder=world.encoder, noise="none")
    found = none.invert(world.images, generator=world.generator)
    torch.testing.assert_close(found.images, world.generator.synthesis(codes, noise="none"))
