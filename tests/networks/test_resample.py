"""FIR resampling against explicit loops in float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.networks import resample


def rand(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def smooth() -> Tensor:
    """The 4 × 4 filter of StyleGAN2."""
    return resample.fir_kernel((1, 3, 3, 1)).double()


def slow_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """True convolution, "full" size, of x [N, C_in, H, W] with weight [C_out, C_in, k, l]."""
    a, w = x.numpy(), weight.numpy()
    n, _, height, width = a.shape
    out = np.zeros((n, w.shape[0], height + w.shape[2] - 1, width + w.shape[3] - 1))
    for i in range(height):
        for j in range(width):
            for k in range(w.shape[2]):
                for m in range(w.shape[3]):
                    out[:, :, i + k, j + m] += a[:, :, i, j] @ w[:, :, k, m].T
    return torch.from_numpy(out)


def each_channel(kernel: Tensor, channels: int) -> Tensor:
    """Filters [C, C, k, k] that treat every channel alone."""
    return torch.eye(channels, dtype=kernel.dtype)[:, :, None, None] * kernel


def zeros_between(x: Tensor) -> Tensor:
    """Puts a zero after every sample of both axes: [N, C, 2H, 2W]."""
    n, c, h, w = x.shape
    y = x.new_zeros(n, c, 2 * h, 2 * w)
    y[:, :, ::2, ::2] = x
    return y


def test_kernel_sums_to_one_and_is_the_outer_product():
    kernel = resample.fir_kernel((1, 2, 1))
    expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    assert torch.equal(kernel, expected)
    assert resample.fir_kernel((1, 3, 3, 1)).sum() == 1


def test_fir_with_padding_stride_and_gain():
    x, kernel = rand(2, 3, 7, 6), smooth()
    full = slow_convolution(x, each_channel(kernel, 3))
    # "full" equals padding by k − 1 = 3; padding 2 loses one sample on every side.
    torch.testing.assert_close(resample.fir(x, kernel, padding=2), full[:, :, 1:-1, 1:-1])
    torch.testing.assert_close(
        resample.fir(x, kernel, padding=1, stride=2, gain=3.0), 3 * full[:, :, 2:-2:2, 2:-2:2]
    )


def test_blur_keeps_the_size():
    x, kernel = rand(2, 2, 5, 4), resample.fir_kernel((1, 2, 1)).double()
    full = slow_convolution(x, each_channel(kernel, 2))
    torch.testing.assert_close(resample.blur(x, kernel), full[:, :, 1:-1, 1:-1])
    with pytest.raises(ValueError, match="4 taps"):
        resample.blur(x, smooth())


def test_upsample_is_zeros_between_then_the_filter():
    x = rand(2, 3, 4, 5)
    full = slow_convolution(zeros_between(x), each_channel(4 * smooth(), 3))
    # NVlabs pad by (2, 1) before the filter: of the "full" output, samples 1 … 2H.
    torch.testing.assert_close(resample.upsample(x, smooth()), full[:, :, 1:9, 1:11])


def test_upsample_keeps_a_constant_inside():
    y = resample.upsample(torch.ones(1, 1, 6, 6), resample.fir_kernel((1, 3, 3, 1)))
    torch.testing.assert_close(y[:, :, 2:-2, 2:-2], torch.ones(1, 1, 8, 8))


def test_downsample_is_the_filter_then_every_second_sample():
    x = rand(2, 3, 8, 6)
    full = slow_convolution(x, each_channel(smooth(), 3))
    torch.testing.assert_close(resample.downsample(x, smooth()), full[:, :, 2:-2:2, 2:-2:2])


def test_conv_up_is_zeros_between_then_convolution_then_the_filter():
    x, weight = rand(2, 3, 4, 3), rand(5, 3, 3, 3, seed=1)
    full = slow_convolution(zeros_between(x), weight)[:, :, :-1, :-1]  # the last zeros add nothing
    full = slow_convolution(full, each_channel(4 * smooth(), 5))
    # conv_transpose2d spans 2H + 1, the filter with padding 1 makes 2H of it: "full" less 2 a side.
    torch.testing.assert_close(resample.conv_up(x, weight, smooth()), full[:, :, 2:-2, 2:-2])


@pytest.mark.parametrize("size", [1, 3])
def test_conv_down_is_the_filter_then_every_second_convolution(size):
    x, weight, bias = rand(2, 3, 8, 6), rand(5, 3, size, size, seed=1), rand(5, seed=2)
    full = slow_convolution(x, each_channel(smooth(), 3))
    full = slow_convolution(full, weight.flip((2, 3)))  # conv2d correlates
    # Output (i, j) is centred between samples 2i and 2i + 1.
    edge = 2 + size // 2
    expected = full[:, :, edge : edge + 8 : 2, edge : edge + 6 : 2] + bias[:, None, None]
    torch.testing.assert_close(resample.conv_down(x, weight, smooth(), bias=bias), expected)


def test_box_conv_up_is_nearest_upsampling_then_convolution():
    x, weight = rand(2, 3, 4, 5), rand(4, 3, 3, 3, seed=1)
    nearest = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = F.conv2d(nearest, weight, padding=1)
    torch.testing.assert_close(resample.box_conv_up(x, weight, flip=True), expected)
    mirrored = F.conv2d(nearest, weight.flip((2, 3)), padding=1)
    torch.testing.assert_close(resample.box_conv_up(x, weight, flip=False), mirrored)
    assert not torch.allclose(expected, mirrored)


def test_box_conv_up_unflipped_is_the_fused_layer_written_out():
    x, weight = rand(1, 2, 3, 3), rand(2, 2, 3, 3, seed=1)
    padded = F.pad(weight, (1, 1, 1, 1)).numpy()
    wide = np.zeros((2, 2, 4, 4))
    for di in (0, 1):
        for dj in (0, 1):
            wide += padded[:, :, di : di + 4, dj : dj + 4]
    full = slow_convolution(zeros_between(x), torch.from_numpy(wide))
    # TensorFlow's "SAME" cuts one sample before and one after: 2(H − 1) + 4 → 2H.
    torch.testing.assert_close(resample.box_conv_up(x, weight, flip=False), full[:, :, 1:7, 1:7])


def test_box_conv_down_is_convolution_then_the_mean_of_four():
    x, weight, bias = rand(2, 3, 6, 8), rand(4, 3, 3, 3, seed=1), rand(4, seed=2)
    expected = F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
    torch.testing.assert_close(resample.box_conv_down(x, weight, bias=bias), expected)


@pytest.mark.parametrize("name", ["upsample", "conv_up", "conv_down", "box_up", "box_down", "blur"])
def test_double_backward(name):
    x = rand(1, 2, 4, 4).requires_grad_()
    weight = rand(2, 2, 3, 3, seed=1).requires_grad_()
    odd = resample.fir_kernel((1, 2, 1)).double()
    function, inputs = {
        "upsample": (lambda x: resample.upsample(x, smooth()), (x,)),
        "conv_up": (lambda x, w: resample.conv_up(x, w, smooth()), (x, weight)),
        "conv_down": (lambda x, w: resample.conv_down(x, w, smooth()), (x, weight)),
        "box_up": (lambda x, w: resample.box_conv_up(x, w, flip=True), (x, weight)),
        "box_down": (lambda x, w: resample.box_conv_down(x, w), (x, weight)),
        "blur": (lambda x: resample.blur(x, odd), (x,)),
    }[name]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def filters(kind: str) -> Callable[..., Tensor]:
    return {
        "up": lambda x, w: resample.conv_up(x, w, smooth()),
        "down": lambda x, w: resample.conv_down(x, w, smooth(), bias=rand(3, seed=5)),
        "shortcut": lambda x, w: resample.conv_down(x, w[..., 1:2, 1:2], smooth(), twice=True),
    }[kind]


@pytest.mark.parametrize("kind", ["up", "down", "shortcut"])
def test_what_a_gpu_folds_is_the_same_function_to_the_second_order(monkeypatch, kind):
    x, weight = rand(2, 4, 6, 8).requires_grad_(), rand(3, 4, 3, 3, seed=1).requires_grad_()
    work = filters(kind)

    def orders():
        y = work(x, weight)
        first = torch.autograd.grad(y.sin().sum(), x, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum(), (x, weight))
        return [y, first, *second]

    expected = orders()
    monkeypatch.setattr(resample, "on_gpu", lambda x: True)
    for got, one in zip(orders(), expected, strict=True):
        torch.testing.assert_close(got, one, rtol=1e-10, atol=1e-12)
