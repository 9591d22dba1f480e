"""StyleGAN's discriminator against its layers written out, as in NVlabs' code, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.networks.stylegan_discriminator import StyleGANDiscriminator

from .synthesis_checks import awake, check_double_backward, check_round_trip, rand


def small(**choices: object) -> StyleGANDiscriminator:
    settings = {"resolution": 16, "channels": [5, 4, 3]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake(StyleGANDiscriminator(**{**settings, **choices}))


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


def test_logits_equal_the_layers_written_out() -> None:
    network = small(mbstd_group=2)
    x = rand(4, 3, 16, 16)
    logits = network(x)
    assert logits.shape == (4,)
    torch.testing.assert_close(logits.detach(), by_hand(network, x))


def test_without_minibatch_stddev_images_are_judged_alone() -> None:
    x = rand(4, 3, 16, 16)
    alone = small(mbstd_channels=0)
    together = torch.cat([alone(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone(x), together)
    mixed = small()
    together = torch.cat([mixed(x[i : i + 1]) for i in range(4)])
    assert not torch.allclose(mixed(x), together)


def test_double_backward() -> None:
    network = small(resolution=8, channels=[3, 2])
    check_double_backward(network, rand(2, 3, 8, 8))


def test_round_trip() -> None:
    check_round_trip(small(mbstd_group=2), rand(2, 3, 16, 16))


def test_widths_at_256_are_the_papers() -> None:
    with torch.device("meta"):
        network = StyleGANDiscriminator(resolution=256)
    assert network.from_rgb.weight.shape == (64, 3, 1, 1)
    assert [b.conv1.weight.shape[0] for b in network.blocks] == [128, 256, 512, 512, 512, 512]
    assert network.conv.weight.shape == (512, 513, 3, 3)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, 3, 16, 16\]"):
        small()(rand(1, 3, 8, 8))
