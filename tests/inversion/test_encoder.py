"""Inversion by the encoder alone."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.inversion import Inverter


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
