"""Small native networks, and files of them in layouts that need no writer of their own."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from idinvert.checkpoints.convert import to_rosinality
from idinvert.checkpoints.release import save_network
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

L, W = 4, 8  # layers of an 8 px generator, width of its codes


def generator(seed: int = 0, *, resolution: int = 8) -> StyleGAN2Generator:
    torch.manual_seed(seed)
    channels = [6, 4, 4][: resolution.bit_length() - 2]
    made = StyleGAN2Generator(
        resolution=resolution, z_dim=W, w_dim=W, channels=channels, mapping_depth=2
    )
    made.w_avg.copy_(torch.randn(1, W).expand_as(made.w_avg))
    return made.eval().requires_grad_(False)


def discriminator(seed: int = 1, *, resolution: int = 8) -> StyleGAN2Discriminator:
    torch.manual_seed(seed)
    channels = [6, 4, 4][: resolution.bit_length() - 2]
    made = StyleGAN2Discriminator(resolution=resolution, channels=channels)
    return made.eval().requires_grad_(False)


def encoder(seed: int = 2) -> Encoder:
    torch.manual_seed(seed)
    backbone = BaseBackbone(resolution=8, variant="v2", channels=4, channels_max=8)
    made = Encoder(backbone=backbone, num_layers=L, w_dim=W)
    return made.eval().requires_grad_(False)


def bundle(folder: Path, *roles: str) -> Path:
    """A folder of release files."""
    make = {"generator": generator, "discriminator": discriminator, "encoder": encoder}
    for role in roles or make:
        save_network(make[role](), folder / f"{role}.safetensors", provenance={"seed": 7})
    return folder


def rosinality(path: Path, *, with_d: bool = True, with_mean: bool = True) -> Path:
    """A file of rosinality's layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = to_rosinality(generator(), discriminator=discriminator() if with_d else None)
    if not with_mean:
        del content["latent_avg"]
    torch.save(content, path)
    return path


def lightning(run: Path, *, named: bool = False, resolution: int = 8) -> Path:
    """A checkpoint of a GAN's run, with the release files beside it unless it is ``named``."""
    size = {"resolution": resolution}
    networks: dict[str, Any] = {"generator": generator(3, **size)}
    networks["discriminator"] = discriminator(**size)
    stored = networks | {"average": generator(4, **size)}
    content: dict[str, Any] = {
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {
            f"{name}.{key}": value.clone()
            for name, network in stored.items()
            for key, value in network.state_dict().items()
        }
        | {"clock._extra_state": {"nimg": 640}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}}],
    }
    if named:
        content["idinvert_networks"] = {
            role: {"class": type(network).__name__, "architecture": network.architecture}
            for role, network in networks.items()
        }
    else:
        for role, network in networks.items():
            file = run / "weights" / f"{role}.safetensors"
            save_network(network, file, provenance={"run": "abc", "nimg": 9_999})
    path = run / "checkpoints" / "nimg-000000640.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    return path


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks are equal bit for bit."""
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
