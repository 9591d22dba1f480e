"""The paper's parts together: StyleGAN2, the base encoder and the attribute features."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from idinvert.inversion.optimize_codes import FreeInverter, Image2StyleGANInverter, InDomainInverter
from idinvert.inversion.optimizers import OPTIMIZERS
from idinvert.inversion.projector import ProjectorInverter
from idinvert.networks.attributes import AttributeFeatures, AttributeNetwork
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.stylegan2 import StyleGAN2Generator


@pytest.fixture
def parts():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGAN2Generator(
            resolution=16, z_dim=8, w_dim=8, channels=[8, 8, 8], mapping_depth=1
        )
        backbone = BaseBackbone(resolution=16, channels=8, channels_max=16)
        encoder = Encoder(backbone=backbone, num_layers=generator.num_layers, w_dim=8)
        network = AttributeNetwork(resolution=16, kinds=["binary"], names=["x"], width=8)
        x = torch.rand(4, 3, 16, 16, dtype=torch.float64) * 2 - 1
    nets = generator, encoder, AttributeFeatures(network=network)
    for net in nets:
        net.double().eval().requires_grad_(False)
    return *nets, x


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_images_do_not_influence_one_another(parts, optimizer):
    generator, encoder, features, x = parts
    kw = dict(lambda_vgg=0.1, steps=20, optimizer=optimizer)
    method = InDomainInverter(encoder=encoder, perceptual=features, **kw)
    together = method.invert(x, generator=generator)
    assert (together.losses[-1] < together.losses[0]).all()
    for n in range(len(x)):
        alone = method.invert(x[n : n + 1], generator=generator)
        torch.testing.assert_close(alone.codes[0], together.codes[n], rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(alone.losses[:, 0], together.losses[:, n], rtol=1e-8, atol=0)


def test_single_precision_losses_agree_after_ten_steps(parts):
    generator, encoder, features = (net.float() for net in parts[:3])
    x = parts[3].float()
    method = InDomainInverter(encoder=encoder, perceptual=features, lambda_vgg=0.1, steps=10)
    together = method.invert(x, generator=generator)
    for n in range(len(x)):
        alone = method.invert(x[n : n + 1], generator=generator)
        torch.testing.assert_close(alone.losses[:, 0], together.losses[:, n], rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", [Image2StyleGANInverter, ProjectorInverter, FreeInverter])
def test_methods_without_an_encoder_do_not_mix_images_either(parts, kind):
    generator, _, features, x = parts
    ids = torch.tensor([3, 1, 4, 15])
    method = kind(perceptual=features, lambda_vgg=0.1, steps=20)
    together = method.invert(x, generator=generator, ids=ids)
    assert (together.losses[-1] < together.losses[0]).all()
    for n in range(0, len(x), 3):
        alone = method.invert(x[n : n + 1], generator=generator, ids=ids[n : n + 1])
        torch.testing.assert_close(alone.codes[0], together.codes[n], rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(alone.losses[:, 0], together.losses[:, n], rtol=1e-8, atol=0)
    noise = together.noise or "const"
    rebuilt = generator.synthesis(together.codes, noise=noise)
    torch.testing.assert_close(rebuilt, together.images, rtol=1e-8, atol=1e-10)


def flops(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("trainable", [False, True])
def test_a_step_costs_each_network_once_and_back(parts, trainable):
    """Objective and gradient: G, F and E once and back; nothing twice, no weight's gradient."""
    generator, encoder, features, x = parts
    w = encoder(x)
    g = generator.synthesis(w)
    passes = (lambda: generator.synthesis(w), lambda: features(x), lambda: encoder(g))
    once = sum(map(flops, passes))
    for net in (generator, encoder, features):
        net.requires_grad_(trainable)
    kw = dict(encoder=encoder, perceptual=features, lambda_vgg=0.1)
    cost = [
        flops(lambda k=k: InDomainInverter(**kw, steps=k).invert(x, generator=generator))
        for k in (1, 2)
    ]
    assert cost[1] - cost[0] == 2 * once
