"""Every kind of encoder, and D_w, comes out of its file as it went in: codes and noise."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from idinvert.checkpoints.release import load_network, read_header, save_network
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.encoder_mobilenet import MobileNetBackbone
from idinvert.networks.encoder_resnet import ResNetBackbone
from idinvert.networks.latent_discriminator import LatentDiscriminator
from idinvert.networks.mapping import MappingNetwork
from idinvert.networks.stylegan import StyleGANGenerator

L, W, R = 4, 6, 8
SHAPES = [(4, 4), (4, 4), (8, 8), (8, 8)]


def base() -> BaseBackbone:
    return BaseBackbone(resolution=R, channels=4, channels_max=8)


def of_backbone(backbone: Any) -> Encoder:
    return Encoder(backbone=backbone, num_layers=L, w_dim=W, offset=True)


def with_noise(blocks: int, std: float | None = None) -> Encoder:
    encoder = Encoder(
        backbone=base(),
        num_layers=L,
        w_dim=W,
        noise_blocks=blocks,
        noise_shapes=SHAPES,
        noise_std=std,
    )
    generator = StyleGANGenerator(resolution=R, z_dim=W, w_dim=W, channels=[4, 4], mapping_depth=1)
    encoder.noise_head.adopt(generator.synthesis)
    return encoder


def with_mapping() -> Encoder:
    mapping = MappingNetwork(z_dim=5, w_dim=W, num_layers=L, depth=2, multi_w=True)
    encoder = Encoder(
        backbone=base(), num_layers=L, w_dim=W, latent="z", mapping=mapping.architecture
    )
    encoder.set_mapping(mapping)
    return encoder


def with_deltas() -> Encoder:
    encoder = Encoder(backbone=base(), num_layers=L, w_dim=W, deltas=True)
    torch.nn.init.normal_(encoder.norm.weight)
    encoder.set_stage(2)
    return encoder


KINDS: dict[str, Callable[[], Encoder]] = {
    "resnet18": lambda: of_backbone(ResNetBackbone(resolution=R, depth=18, width=4)),
    "resnet34": lambda: of_backbone(ResNetBackbone(resolution=R, depth=34, width=4)),
    "resnet50": lambda: of_backbone(ResNetBackbone(resolution=R, depth=50, width=4, norm="sync")),
    "mobilenet": lambda: of_backbone(MobileNetBackbone(resolution=R, width=0.25, norm="none")),
    "noise_1": lambda: with_noise(1),
    "noise_2": lambda: with_noise(2),
    "noise_std": lambda: with_noise(2, 0.1),
    "z": with_mapping,
    "deltas": with_deltas,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_comes_out_as_it_went_in(kind, tmp_path):
    torch.manual_seed(0)
    encoder = KINDS[kind]()
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(4, 3, R, R, generator=rng) * 2 - 1
    if encoder.offset:
        encoder.set_offset(torch.randn(L, W, generator=rng))
    encoder.train()(x)  # running statistics move away from their start
    encoder.eval()
    path = tmp_path / "encoder.safetensors"
    save_network(encoder, path, provenance={})
    assert read_header(path).role == "encoder"
    loaded: Any = load_network(path, key="encoder.path", expect="encoder")
    assert loaded.architecture == encoder.architecture
    codes, noise, _ = encoder.encode(x)
    codes_again, noise_again, _ = loaded.encode(x)
    torch.testing.assert_close(codes_again, codes, rtol=0, atol=0)
    torch.testing.assert_close(loaded(x), codes, rtol=0, atol=0)
    assert (noise is None) is (not kind.startswith("noise"))
    for one, other in zip(noise or [], noise_again or [], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_a_latent_discriminator_comes_out_as_it_went_in(tmp_path):
    torch.manual_seed(0)
    network = LatentDiscriminator(features=W, width=5)
    path = tmp_path / "latent_discriminator.safetensors"
    save_network(network, path, provenance={})
    loaded = load_network(path, key="test", expect="latent_discriminator")
    codes = torch.randn(3, W, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loaded(codes), network(codes), rtol=0, atol=0)


def test_a_file_from_before_these_kinds_is_still_read(tmp_path):
    """Its architecture names none of the newer arguments."""
    torch.manual_seed(0)
    encoder = of_backbone(base())
    newer = ("deltas", "mapping", "noise_blocks", "noise_shapes")
    encoder.architecture = {k: v for k, v in encoder.architecture.items() if k not in newer}
    path = tmp_path / "encoder.safetensors"
    save_network(encoder, path, provenance={})
    loaded = load_network(path, key="encoder.path")
    x = torch.rand(2, 3, R, R, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loaded(x), encoder.eval()(x), rtol=0, atol=0)
