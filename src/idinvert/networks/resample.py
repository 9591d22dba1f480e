"""Blur, upsample and downsample feature maps with a small separable FIR filter.

On a GPU, arithmetic is cheap and memory access is slow, so StyleGAN2's filter is merged into the
adjacent convolution; on a CPU, applying them one after the other takes fewer operations.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_gradients = torch.ops.aten.convolution_backward.default  # looked up once: used in every step


def fir_kernel(taps: Sequence[float]) -> Tensor:
    """Builds a normalised 2-D filter from 1-D taps.

    Args:
        taps: 1-D filter, such as (1, 3, 3, 1) for StyleGAN2 or (1, 2, 1) for StyleGAN.

    Returns:
        Tensor [k, k], float32, outer product of the taps, sums to 1.
    """
    row = torch.tensor(taps, dtype=torch.float32)
    kernel = row[:, None] * row[None, :]
    return kernel / kernel.sum()


def fir(
    x: Tensor,
    kernel: Tensor,
    *,
    padding: int = 0,
    stride: int = 1,
    gain: float = 1.0,
    twice: bool = False,
) -> Tensor:
    """Filters every channel with the same symmetric kernel and zero padding.

    Args:
        x: Feature maps [N, C, H, W].
        kernel: Filter [k, k]; symmetric, so that correlation and convolution agree.
        padding: Zeros added on every side.
        stride: Keep every stride-th output.
        gain: Factor on the output.
        twice: Whether the gradient will itself be differentiated (R1); the result is the same.

    Returns:
        Tensor [N, C, (H + 2·padding − k) // stride + 1, …].
    """
    if twice:
        return depthwise(x, kernel * gain, stride=stride, padding=padding)
    channels = x.shape[1]
    weight = (kernel * gain).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=channels)


def may_be_differentiated_twice(images: Tensor, weight: Tensor) -> bool:
    """Returns whether R1 may be computed: gradients flow into D's images and into its weights."""
    return images.requires_grad and weight.requires_grad and torch.is_grad_enabled()


def blur(x: Tensor, kernel: Tensor, *, twice: bool = False) -> Tensor:
    """Filters with an odd kernel; the size is unchanged.

    Args:
        x: Feature maps [N, C, H, W].
        kernel: Filter [k, k], k odd.
        twice: See `fir`.

    Returns:
        Tensor [N, C, H, W].

    Raises:
        ValueError: The kernel is even and has no centre.
    """
    size = kernel.shape[-1]
    if size % 2 == 0:
        raise ValueError(f"blur keeps the size only with an odd kernel, got {size} taps")
    return fir(x, kernel, padding=size // 2, twice=twice)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Doubles height and width: inserts zeros between the samples, then filters with gain 4.

    Args:
        x: Feature maps [N, C, H, W].
        kernel: Filter [k, k], k even (4 in StyleGAN2).

    Returns:
        Tensor [N, C, 2H, 2W].
    """
    channels, size = x.shape[1], kernel.shape[-1]
    weight = (kernel * 4).to(x.dtype).expand(channels, 1, size, size)
    # A transposed convolution writes 2(H − 1) + k samples; the padding trims it to 2H.
    return F.conv_transpose2d(x, weight, stride=2, padding=(size - 2) // 2, groups=channels)


def downsample(x: Tensor, kernel: Tensor, *, twice: bool = False) -> Tensor:
    """Halves height and width: filters, then keeps every second sample.

    Args:
        x: Feature maps [N, C, H, W], H and W even.
        kernel: Filter [k, k], k even (4 in StyleGAN2).
        twice: See `fir`.

    Returns:
        Tensor [N, C, H / 2, W / 2].
    """
    return fir(x, kernel, padding=(kernel.shape[-1] - 2) // 2, stride=2, twice=twice)


def conv_up(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Applies a transposed convolution with stride 2, then the filter with gain 4, as in StyleGAN2.

    Args:
        x: Feature maps [N, C_in, H, W].
        weight: Filters [C_out, C_in, 3, 3].
        kernel: Filter [4, 4].

    Returns:
        Tensor [N, C_out, 2H, 2W].
    """
    if on_gpu(x):
        weight = folded(weight, kernel * 4)
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2, padding=2)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [N, C_out, 2H + 1, 2W + 1]
    return fir(x, kernel, padding=1, gain=4)


def conv_down(
    x: Tensor, weight: Tensor, kernel: Tensor, *, bias: Tensor | None = None, twice: bool = False
) -> Tensor:
    """Applies the filter, then a convolution with stride 2, as in StyleGAN2's downsampling.

    Args:
        x: Feature maps [N, C_in, H, W], H and W even.
        weight: Filters [C_out, C_in, k, k], k 1 or 3.
        kernel: Filter [4, 4].
        bias: Bias [C_out].
        twice: See `fir`.

    Returns:
        Tensor [N, C_out, H / 2, W / 2].
    """
    if on_gpu(x):
        padding = (weight.shape[-1] + kernel.shape[-1] - 2) // 2
        return F.conv2d(x, folded(weight, kernel), bias, stride=2, padding=padding)
    if weight.shape[-1] == 1:
        return F.conv2d(downsample(x, kernel, twice=twice), weight, bias)
    return F.conv2d(fir(x, kernel, padding=2, twice=twice), weight, bias, stride=2)


def folded(weight: Tensor, kernel: Tensor) -> Tensor:
    """Merges a FIR filter and the filters of a convolution into one set of filters.

    Args:
        weight: Filters [C_out, C_in, k, k].
        kernel: FIR filter [m, m], symmetric.

    Returns:
        Filters [C_out, C_in, k + m − 1, k + m − 1]: the full convolution of both.
    """
    size, taps = weight.shape[-1], kernel.shape[-1]
    planes = weight.reshape(-1, 1, size, size)
    wide = F.conv2d(planes, kernel[None, None].to(weight.dtype), padding=taps - 1)
    return wide.view(*weight.shape[:2], size + taps - 1, size + taps - 1)


def box_conv_up(x: Tensor, weight: Tensor, *, flip: bool) -> Tensor:
    """Nearest-neighbour upsampling and a 3×3 convolution, as in StyleGAN's upsampling.

    Both are computed as one transposed convolution with a 4×4 filter, with fewer multiplications.

    Args:
        x: Feature maps [N, C_in, H, W].
        weight: Filters [C_out, C_in, 3, 3].
        flip: True gives upsampling, then `conv2d`. False rotates the filters by 180°, as in NVlabs'
            fused layers from 128 px on, which transpose without flipping.

    Returns:
        Tensor [N, C_out, 2H, 2W].
    """
    if flip:
        weight = weight.flip((2, 3))
    return F.conv_transpose2d(x, _box(weight).transpose(0, 1), stride=2, padding=1)


def box_conv_down(x: Tensor, weight: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """A 3×3 convolution and the mean of 2×2 pixels, computed as one: StyleGAN's downsampling.

    Args:
        x: Feature maps [N, C_in, H, W], H and W even.
        weight: Filters [C_out, C_in, 3, 3].
        bias: Bias [C_out].

    Returns:
        Tensor [N, C_out, H / 2, W / 2].
    """
    return F.conv2d(x, _box(weight) / 4, bias, stride=2, padding=1)


def _box(weight: Tensor) -> Tensor:
    """Convolves filters [..., 3, 3] with a 2×2 box of ones; returns [..., 4, 4]."""
    w = F.pad(weight, (1, 1, 1, 1))
    return w[..., 1:, 1:] + w[..., :-1, 1:] + w[..., 1:, :-1] + w[..., :-1, :-1]


def on_gpu(x: Tensor) -> bool:
    """Returns whether a tensor is on a GPU."""
    return x.is_cuda


def depthwise(x: Tensor, kernel: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolves every channel with one constant filter.

    The result equals a grouped `conv2d`, which is faster for a first gradient. When the gradient
    itself is differentiated (R1), `conv2d` also computes a gradient for the filter, needed or not
    and channel by channel, which takes a tenth of a whole training step. This function computes
    only the gradient of x, which is linear too.

    Args:
        x: Feature maps [N, C, H, W].
        kernel: Filter [k, k], a constant: it gets no gradient.
        stride: Keep every stride-th output.
        padding: Zeros added on every side.

    Returns:
        Tensor [N, C, (H + 2·padding − k) // stride + 1, …].
    """
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        x = x.to(torch.get_autocast_dtype(device))
    weight = kernel.to(x.dtype).expand(x.shape[1], 1, *kernel.shape)
    result: Tensor = _Depthwise.apply(x, weight, stride, padding)
    return result


def _convolve(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    return torch.conv2d(x, weight, None, stride, padding, 1, len(weight))


class _Depthwise(torch.autograd.Function):
    """The convolution; its gradient is `_DepthwiseGradient`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.how, ctx.size, ctx.strides = (stride, padding), x.shape, x.stride()
        if torch.is_autocast_enabled(x.device.type):
            # The second-order gradient of a term kept in full precision (R1) is computed outside
            # the context that kept it so.
            with torch.autocast(x.device.type, enabled=False):
                return _convolve(x, weight, stride, padding)
        return _convolve(x, weight, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        gradient = _DepthwiseGradient.apply(*grads, weight, *ctx.how, ctx.size, ctx.strides)
        return gradient, None, None, None


class _DepthwiseGradient(torch.autograd.Function):
    """The gradient of `_Depthwise` with respect to x: linear too; its gradient is `_Depthwise`."""

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        weight: Tensor,
        stride: int,
        padding: int,
        size: torch.Size,
        strides: tuple[int, ...],
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.how = (stride, padding)
        # Only its size and layout are read, so x itself need not be kept.
        like = torch.empty_strided(size, strides, dtype=grad.dtype, device=grad.device)
        geometry = ((stride, stride), (padding, padding), (1, 1), False, (0, 0), len(weight))
        result: Tensor = _gradients(grad, like, weight, None, *geometry, (True, False, False))[0]
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _Depthwise.apply(*grads, weight, *ctx.how), None, None, None, None, None
