"""Modulated convolution against per-image filters (a grouped convolution) in float64."""

import math

import pytest
import torch

from idinvert.networks.resample import fir_kernel
from idinvert.networks.stylegan2 import StyledConv, ToRGB, demodulation, modulated_conv2d

from .small_networks import grouped, rand


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_scaled_activations_equal_scaled_filters(demodulate, up):
    x, weight, styles = rand(3, 4, 5, 6), rand(2, 4, 3, 3, seed=1), rand(3, 4, seed=2)
    kernel = fir_kernel((1, 3, 3, 1)).double() if up else None
    y = modulated_conv2d(x, weight, styles, up_kernel=kernel, demodulate=demodulate)
    torch.testing.assert_close(y, grouped(x, weight, styles, demodulate=demodulate, up=up))


@pytest.mark.parametrize("demodulate", [True, False])
def test_gain_falls_on_the_convolution_and_not_on_the_offset(demodulate):
    x, weight, styles = rand(2, 3, 4, 4), rand(2, 3, 1, 1, seed=1), rand(2, 3, seed=2)
    offset = rand(2, 2, 4, 4, seed=3)
    plain = modulated_conv2d(x, weight, styles, demodulate=demodulate)
    y = modulated_conv2d(x, weight, styles, demodulate=demodulate, gain=3.0, offset=offset)
    torch.testing.assert_close(y, 3 * plain + offset)


def test_demodulation_gives_unit_variance_and_forgets_the_scale_of_the_style():
    weight, styles = rand(6, 16, 3, 3), rand(2, 16, seed=1)
    x = rand(2, 16, 64, 64, seed=2)
    y = modulated_conv2d(x, weight, styles)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(
        y.var(dim=(2, 3)), torch.ones(2, 6, dtype=torch.float64), rtol=0.1, atol=0
    )
    torch.testing.assert_close(
        demodulation(weight, 7 * styles) * 7, demodulation(weight, styles), rtol=1e-6, atol=0
    )


def styled(*, up: bool, conv_clamp: float | None = None) -> StyledConv:
    layer = StyledConv(4, 3, w_dim=5, up=up, conv_clamp=conv_clamp).double()
    with torch.no_grad():
        layer.noise_strength.fill_(0.7)
        layer.bias.copy_(rand(3, seed=9))
    return layer


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("clamp", [None, 0.8])
@pytest.mark.parametrize("maps", [1, 2])
def test_styled_conv_is_noise_bias_lrelu_gain_clamp_in_this_order(up, clamp, maps):
    layer, x, w = styled(up=up, conv_clamp=clamp), rand(2, 4, 4, 4), rand(2, 5, seed=1)
    side = 8 if up else 4
    noise = rand(maps, 1, side, side, seed=2)
    with torch.no_grad():
        styles = w @ layer.affine.weight.T / math.sqrt(5) + layer.affine.bias
        y = grouped(x, layer.weight, styles, demodulate=True, up=up)
        y = y + noise * 0.7 + layer.bias[None, :, None, None]
        y = torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)
        if clamp is not None:
            y = y.clamp(-clamp, clamp)  # after the gain, as NVlabs' bias_act does
        torch.testing.assert_close(layer(x, w, noise), y)


def test_no_noise_equals_zero_noise():
    layer, x, w = styled(up=False), rand(2, 4, 4, 4), rand(2, 5, seed=1)
    zero = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x, w, None), layer(x, w, zero))


def test_initial_state():
    layer, rgb = StyledConv(4, 3, w_dim=5, up=True), ToRGB(4, w_dim=5)
    assert layer.noise_strength.shape == () and layer.noise_strength.item() == 0
    assert (layer.affine.bias == 1).all() and (rgb.affine.bias == 1).all()
    assert (layer.bias == 0).all() and (rgb.bias == 0).all()
    names = {"affine.weight", "affine.bias", "weight", "bias", "noise_strength"}
    assert set(layer.state_dict()) == names


@pytest.mark.parametrize("clamp", [None, 0.3])
def test_to_rgb(clamp):
    layer, x, w = ToRGB(4, w_dim=5, conv_clamp=clamp).double(), rand(2, 4, 3, 3), rand(2, 5, seed=1)
    with torch.no_grad():
        layer.bias.copy_(rand(3, seed=2))
        styles = (w @ layer.affine.weight.T / math.sqrt(5) + layer.affine.bias) / math.sqrt(4)
        y = grouped(x, layer.weight, styles, demodulate=False, up=False)
        y = y + layer.bias[None, :, None, None]
        y = y if clamp is None else y.clamp(-clamp, clamp)
        torch.testing.assert_close(layer(x, w), y)


@pytest.mark.parametrize("up", [True, False])
def test_double_backward(up):
    x, weight = rand(2, 2, 2, 2).requires_grad_(), rand(2, 2, 3, 3, seed=1).requires_grad_()
    styles = rand(2, 2, seed=2).requires_grad_()
    kernel = fir_kernel((1, 3, 3, 1)).double() if up else None

    def function(x, weight, styles):
        return modulated_conv2d(x, weight, styles, up_kernel=kernel)

    assert torch.autograd.gradcheck(function, (x, weight, styles))
    assert torch.autograd.gradgradcheck(function, (x, weight, styles))
