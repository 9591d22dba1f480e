"""Shared layers against their formulas in float64."""

import math

import pytest
import torch
from torch import Tensor

from idinvert.networks import layers


def rand(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def test_equal_linear_scales_weight_and_bias_at_run_time():
    layer = layers.EqualLinear(5, 3, lr_mul=0.01, bias_init=2.0, gain=1.5).double()
    assert torch.equal(layer.bias.detach(), torch.full((3,), 2.0, dtype=torch.float64))
    x = rand(4, 5)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for n in range(4):
        for o in range(3):
            total = sum(float(x[n, i] * layer.weight[o, i].detach()) for i in range(5))
            expected[n, o] = total * 1.5 * 0.01 / math.sqrt(5) + 2.0 * 0.01
    torch.testing.assert_close(layer(x).detach(), expected)


def test_equal_layers_start_with_unit_effective_variance_whatever_lr_mul():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        slow = layers.EqualLinear(400, 300, lr_mul=0.01)
        conv = layers.EqualConv2d(64, 64, kernel_size=3)
    assert slow.weight.std().item() == pytest.approx(100, rel=0.02)
    assert conv.weight.std().item() == pytest.approx(1, rel=0.02)
    x = rand(50, 400).float()
    assert slow(x).std().item() == pytest.approx(1, rel=0.05)
    x = rand(4, 64, 16, 16).float()
    assert conv(x)[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, rel=0.05)


def test_lr_mul_slows_the_effective_weight():
    """One SGD step moves the effective weight by lr_mul² less: the raw gradient and its use."""
    x = rand(1, 4)
    moved = []
    for lr_mul in (1.0, 0.1):
        layer = layers.EqualLinear(4, 1, lr_mul=lr_mul).double()
        before = layer.weight.detach() * layer.weight_gain
        layer(x).sum().backward()
        assert layer.weight.grad is not None
        after = (layer.weight.detach() - layer.weight.grad) * layer.weight_gain
        moved.append((after - before).norm())
    assert (moved[1] / moved[0]).item() == pytest.approx(0.01)


@pytest.mark.parametrize(("size", "bias"), [(1, True), (3, False)])
def test_equal_conv_scales_by_the_fan_in(size, bias):
    layer = layers.EqualConv2d(2, 3, kernel_size=size, bias=bias, gain=1.25).double()
    if bias:
        torch.nn.init.normal_(layer.bias)
    x = rand(1, 2, 4, 4)
    y = layer(x).detach()
    at = (1, 2)  # one pixel inside, by hand
    half = size // 2
    for o in range(3):
        window = x[0, :, at[0] - half : at[0] + half + 1, at[1] - half : at[1] + half + 1]
        total = (window * layer.weight[o].detach()).sum() * 1.25 / math.sqrt(2 * size**2)
        total = total + (layer.bias[o].detach() if bias else 0)
        torch.testing.assert_close(y[0, o, at[0], at[1]], total)
    assert y.shape == (1, 3, 4, 4)


def test_lrelu():
    x = torch.tensor([-2.0, 0.0, 3.0])
    torch.testing.assert_close(layers.lrelu(x), torch.tensor([-0.4, 0.0, 3.0]))
    torch.testing.assert_close(layers.lrelu(x, gain=2.0), torch.tensor([-0.8, 0.0, 6.0]))


def test_pixel_norm_gives_unit_mean_square():
    x = rand(3, 6) * 10
    y = layers.pixel_norm(x)
    torch.testing.assert_close(y.square().mean(dim=1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(y[1] / y[1, 0], x[1] / x[1, 0])
    assert torch.equal(layers.pixel_norm(torch.zeros(1, 4)), torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("n", "group", "used", "channels"), [(8, 4, 4, 1), (8, 4, 4, 2), (6, 4, 3, 1), (3, 4, 3, 1)]
)
def test_minibatch_stddev(n, group, used, channels):
    x = rand(n, 4, 2, 3)
    y = layers.minibatch_stddev(x, group=group, channels=channels)
    assert y.shape == (n, 4 + channels, 2, 3)
    assert torch.equal(y[:, :4], x)
    per = 4 // channels
    for i in range(n):
        mates = [x[j] for j in range(n) if j % (n // used) == i % (n // used)]
        assert len(mates) == used
        mean = sum(mates) / used
        deviation = (sum((m - mean) ** 2 for m in mates) / used + 1e-8) ** 0.5
        for c in range(channels):
            expected = deviation[c * per : (c + 1) * per].mean()
            torch.testing.assert_close(y[i, 4 + c], expected.expand(2, 3))


def test_minibatch_stddev_of_one_image_is_almost_zero_and_has_gradients():
    x = rand(1, 2, 2, 2).requires_grad_()
    y = layers.minibatch_stddev(x)
    assert y[:, 2].max().item() == pytest.approx(1e-4)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.isfinite(gradient).all()


def test_minibatch_stddev_double_backward():
    x = rand(4, 2, 2, 1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layers.minibatch_stddev(x, group=2), (x,))


def test_pixel_norm_is_differentiated_through_the_norm():
    x = rand(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(layers.pixel_norm, (x,))
    (gradient,) = torch.autograd.grad(layers.pixel_norm(x).square().sum(), x)
    assert gradient.abs().max() < 1e-6  # the norm is fixed, so nothing pulls on it
