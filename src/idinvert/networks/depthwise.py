"""A fixed filter over each channel, whose gradient can be differentiated at its own price."""

from typing import Any

import torch
from torch import Tensor

_gradients = torch.ops.aten.convolution_backward.default  # looked up once: it runs at every step


def depthwise(x: Tensor, kernel: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolves every channel with one filter that learns nothing.

    The same function as a grouped `conv2d`, which costs less in a first gradient. Where the
    gradient itself is differentiated (R1), `conv2d` also computes a gradient for the filter, asked
    for or not and channel by channel: a tenth of a whole training step. This one knows only the
    gradient of x, which is linear too.

    Args:
        x: Feature maps [N, C, H, W].
        kernel: Filter [k, k], a constant: no gradient goes into it.
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
    """The filter; its gradient is `_DepthwiseGradient`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.how, ctx.size, ctx.strides = (stride, padding), x.shape, x.stride()
        if torch.is_autocast_enabled(x.device.type):
            # The second order of a term that is kept in full precision (R1) is computed outside
            # of what kept it.
            with torch.autocast(x.device.type, enabled=False):
                return _convolve(x, weight, stride, padding)
        return _convolve(x, weight, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        gradient = _DepthwiseGradient.apply(*grads, weight, *ctx.how, ctx.size, ctx.strides)
        return gradient, None, None, None


class _DepthwiseGradient(torch.autograd.Function):
    """Its gradient with respect to x: linear too, and the gradient of that is the filter."""

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
        # Read for its size and layout alone, so x itself need not be kept.
        like = torch.empty_strided(size, strides, dtype=grad.dtype, device=grad.device)
        geometry = ((stride, stride), (padding, padding), (1, 1), False, (0, 0), len(weight))
        result: Tensor = _gradients(grad, like, weight, None, *geometry, (True, False, False))[0]
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _Depthwise.apply(*grads, weight, *ctx.how), None, None, None, None, None
