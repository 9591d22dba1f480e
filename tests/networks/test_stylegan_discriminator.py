"""StyleGAN's discriminator against its layers written out, as in NVlabs' code, in float64."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

from .small_networks import discriminator as small_discriminator
from .small_networks import rand

small = functools.partial(small_discriminator, "stylegan")


def by_hand(network: StyleGANDiscriminator, x: Tensor) -> Tensor:
    p = network.state_dict()
    taps = torch.tensor([1.0, 2, 1], dtype=torch.float64) / 4

    def weight(name: str, gain: float = math.sqrt(2)) -> Tensor:
        raw = p[f"{name}.weight"]
        return raw * gain / math.sqrt(raw[0].numel())

    def act(x: Tensor, name: str) -> Tensor:
        return F.leaky_relu(x + p[f"{name}.bias"].reshape(1, -1, *[1] * (x.ndim - 2)), 0.2)

    x = act(F.conv2d(x, weight("from_rgb")), "from_rgb")
    for b in range(2):
        name = f"blocks.{b}.conv0"
        x = act(F.conv2d(x, weight(name), padding=1), name)
        n, c, h, _ = x.shape
        x = x.reshape(n * c, 1, h, h)
        x = F.conv2d(x, taps[None, None, :, None], padding=(1, 0))
        x = F.conv2d(x, taps[None, None, None, :], padding=(0, 1)).reshape(n, c, h, h)
        name = f"blocks.{b}.conv1"
        x = act(F.avg_pool2d(F.conv2d(x, weight(name), padding=1), 2), name)
    groups = x.reshape(2, x.shape[0] // 2, *x.shape[1:])
    deviation = ((groups - groups.mean(dim=0)) ** 2).mean(dim=0).add(1e-8).sqrt()
    deviation = deviation.mean(dim=(1, 2, 3)).repeat(2)[:, None, None, None]
    x = torch.cat([x, deviation.expand(-1, 1, 4, 4)], dim=1)
    x = act(F.conv2d(x, weight("conv"), padding=1), "conv")
    x = act(x.flatten(1) @ weight("fc").T, "fc")
    return (x @ weight("out", 1.0).T + p["out.bias"])[:, 0]


def test_logits_equal_the_layers_written_out():
    network = small(mbstd_group=2)
    x = rand(4, 3, 16, 16)
    logits = network(x)
    assert logits.shape == (4,)
    torch.testing.assert_close(logits.detach(), by_hand(network, x))


def test_widths_at_256_are_the_papers():
    with torch.device("meta"):
        network = StyleGANDiscriminator(resolution=256)
    assert network.from_rgb.weight.shape == (64, 3, 1, 1)
    assert [b.conv1.weight.shape[0] for b in network.blocks] == [128, 256, 512, 512, 512, 512]
    assert network.conv.weight.shape == (512, 513, 3, 3)
