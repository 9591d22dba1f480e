"""StyleGAN2's discriminator against its layers written out in float64."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

from .small_networks import check_double_backward, check_round_trip, rand
from .small_networks import discriminator as small_discriminator

small = functools.partial(small_discriminator, "stylegan2")


def filtered(x: Tensor, padding: int) -> Tensor:
    """Filter [1, 3, 3, 1] / 8 along both axes."""
    x = F.pad(x, (padding,) * 4)
    taps = (0.125, 0.375, 0.375, 0.125)
    x = sum(t * x[:, :, i : x.shape[2] - 3 + i] for i, t in enumerate(taps))
    return sum(t * x[:, :, :, i : x.shape[3] - 3 + i] for i, t in enumerate(taps))


def by_hand(network: StyleGAN2Discriminator, x: Tensor, clamp: float | None) -> Tensor:
    """NVlabs' order: bias, activation, gain, clamp; √½ on both branches of a block."""
    p = network.state_dict()

    def act(x: Tensor, name: str, gain: float = 1.0) -> Tensor:
        bias = p[f"{name}.bias"]
        x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
        x = F.leaky_relu(x, 0.2) * (math.sqrt(2) * gain)
        return x if clamp is None or x.ndim == 2 else x.clamp(-clamp * gain, clamp * gain)

    def weight(name: str) -> Tensor:
        raw = p[f"{name}.weight"]
        return raw / math.sqrt(raw[0].numel())

    x = act(F.conv2d(x, weight("from_rgb")), "from_rgb")
    for b in range(2):
        skip = F.conv2d(filtered(x, 1)[:, :, ::2, ::2], weight(f"blocks.{b}.skip"))
        name = f"blocks.{b}.conv0"
        x = act(F.conv2d(x, weight(name), padding=1), name)
        name = f"blocks.{b}.conv1"
        x = act(F.conv2d(filtered(x, 2), weight(name), stride=2), name, math.sqrt(0.5))
        x = skip * math.sqrt(0.5) + x
    groups = x.reshape(2, x.shape[0] // 2, *x.shape[1:])
    deviation = ((groups - groups.mean(dim=0)) ** 2).mean(dim=0).add(1e-8).sqrt()
    deviation = deviation.mean(dim=(1, 2, 3)).repeat(2)[:, None, None, None]
    x = torch.cat([x, deviation.expand(-1, 1, 4, 4)], dim=1)
    x = act(F.conv2d(x, weight("conv"), padding=1), "conv")
    x = act(x.flatten(1) @ weight("fc").T, "fc")
    return (x @ weight("out").T + p["out.bias"])[:, 0]


@pytest.mark.parametrize("clamp", [None, 0.2])
def test_logits_equal_the_layers_written_out(clamp):
    network = small(mbstd_group=2, conv_clamp=clamp)
    x = rand(4, 3, 16, 16)
    logits = network(x)
    assert logits.shape == (4,)
    torch.testing.assert_close(logits.detach(), by_hand(network, x, clamp))


BOTH = pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])


@BOTH
def test_without_minibatch_stddev_images_are_judged_alone(kind):
    x = rand(4, 3, 16, 16)
    alone = small_discriminator(kind, mbstd_channels=0)
    together = torch.cat([alone(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone(x), together)
    mixed = small_discriminator(kind)
    together = torch.cat([mixed(x[i : i + 1]) for i in range(4)])
    assert not torch.allclose(mixed(x), together)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_any_batch_size(n):
    assert torch.isfinite(small()(rand(n, 3, 16, 16))).all()


@BOTH
def test_double_backward(kind):
    """R1 differentiates the gradient with respect to the images."""
    network = small_discriminator(kind, resolution=8, channels=[3, 2])
    check_double_backward(network, rand(2, 3, 8, 8))


def test_r1_reaches_every_weight_with_the_right_gradient():
    """The derivative of ‖∇_x D‖² along a direction of all parameters, against differences."""
    network = small(resolution=8, channels=[3, 2])
    x = rand(2, 3, 8, 8).requires_grad_()
    parameters = [p for p in network.parameters() if p is not network.out.bias]

    def penalty():
        (gradient,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
        return gradient.square().sum()

    gradients = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    directions = [rand(*p.shape, seed=i) for i, p in enumerate(parameters)]
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(sign * 1e-6 * d)
        values.append(penalty().item())
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope.item(), rel=1e-5)
    weights = [g for g, p in zip(gradients, parameters, strict=True) if p.ndim > 1]
    assert all(g is not None and (g != 0).any() for g in weights)


@pytest.mark.parametrize("connections", ["skip", "orig"])
def test_other_architectures(connections):
    """The images and gradients of their layers are checked in tests/checkpoints/families."""
    network = small(connections=connections, mbstd_group=None)
    assert all(block.skip is None for block in network.blocks)
    assert len(network.from_rgbs) == (2 if connections == "skip" else 0)
    check_round_trip(network, rand(2, 3, 16, 16))
    check_double_backward(
        small(connections=connections, resolution=8, channels=[3, 2]), rand(2, 3, 8, 8)
    )


def test_whole_batch_as_one_group():
    x = rand(6, 3, 16, 16)
    torch.testing.assert_close(small(mbstd_group=None)(x), small(mbstd_group=6)(x))
    assert not torch.allclose(small(mbstd_group=None)(x), small(mbstd_group=3)(x))


@pytest.mark.parametrize("depth", [0, 2])
def test_labels_are_projected(depth):
    network = small(c_dim=3, cmap_dim=4, cmap_depth=depth, cmap_lr_mul=0.5)
    x, c = rand(4, 3, 16, 16), rand(4, 3, seed=1)
    logits = network(x, c)
    assert logits.shape == (4,) and not torch.allclose(network(x, c + 1), logits)
    p = network.state_dict()
    label = c @ p["cmap.embed.weight"].T / math.sqrt(3) + p["cmap.embed.bias"]
    label = label / torch.sqrt((label**2).mean(dim=1, keepdim=True) + 1e-8)
    for i in range(depth):
        label = (
            label @ p[f"cmap.layers.{i}.weight"].T * (0.5 / 2) + p[f"cmap.layers.{i}.bias"] * 0.5
        )
        label = F.leaky_relu(label, 0.2) * math.sqrt(2)
    seen = []
    network.out.register_forward_hook(lambda module, args, output: seen.append(output))
    again = network(x, c)
    torch.testing.assert_close(again, (seen[0] * label).sum(dim=1) / 2)
    for wrong in (None, rand(4, 2), rand(3, 3)):
        with pytest.raises(ValueError, match=r"conditional: labels c .*expected \[4, 3\]"):
            network(x, wrong)
    check_round_trip(network, x, c)


@pytest.mark.parametrize(
    ("kind", "choices"), [("stylegan", {}), ("stylegan2", {"conv_clamp": 256.0})]
)
def test_round_trip(kind, choices):
    network = small_discriminator(kind, mbstd_group=2, **choices)
    check_round_trip(network, rand(2, 3, 16, 16))


def test_parameters_at_full_scale_are_config_f():
    with torch.device("meta"):
        network = StyleGAN2Discriminator(resolution=1024)
    assert sum(p.numel() for p in network.parameters()) == 29_012_513


@BOTH
def test_images_that_do_not_fit_are_refused(kind):
    with pytest.raises(ValueError, match=r"\[N, 3, 16, 16\]"):
        small_discriminator(kind)(rand(1, 3, 8, 8))
