"""A small real world: generators of 16 px, an encoder, and features, float64 and untrained."""

from types import SimpleNamespace

import pytest
import torch

from idinvert.networks.attributes import AttributeFeatures, AttributeNetwork
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.stylegan import StyleGANGenerator
from idinvert.networks.stylegan2 import StyleGAN2Generator

KINDS = {"stylegan": StyleGANGenerator, "stylegan2": StyleGAN2Generator}


@pytest.fixture
def make():
    """A maker of generators: 6 layers, w of 8 numbers."""

    def make_one(kind="stylegan2", *, multi_w=False, **more):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = KINDS[kind](
                resolution=16, z_dim=6, w_dim=8, channels=[8, 8, 8], mapping_depth=2,
                multi_w=multi_w, **more,
            )  # fmt: skip
        return net.double().eval().requires_grad_(False)

    return make_one


@pytest.fixture
def world(make):
    """G, E, F, an attribute network and five images in [-1, 1]."""
    generator = make()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        backbone = BaseBackbone(resolution=16, channels=8, channels_max=16)
        encoder = Encoder(backbone=backbone, num_layers=generator.num_layers, w_dim=8)
        network = AttributeNetwork(
            resolution=16, kinds=["binary", "continuous"], names=["x", "y"], width=8, embedding=6
        )
        images = torch.rand(5, 3, 16, 16, dtype=torch.float64) * 2 - 1
    features = AttributeFeatures(network=network)
    for net in (encoder, features):
        net.double().eval().requires_grad_(False)
    return SimpleNamespace(
        generator=generator, encoder=encoder, features=features, attributes=network, images=images
    )
