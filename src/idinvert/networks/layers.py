"""Shared parts of networks: constructor arguments, memory layout, layers with run-time gains."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)


def constructor_arguments(found: dict[str, Any], network: type[nn.Module]) -> dict[str, Any]:
    """Returns a network's constructor arguments as stored in files: lists, numbers, strings.

    Args:
        found: The constructor's ``locals()``.
        network: The class, whose signature lists the arguments.
    """
    values = {name: found[name] for name in inspect.signature(network).parameters}
    sequences = {k: v for k, v in values.items() if isinstance(v, Sequence)}
    return values | {k: list(v) for k, v in sequences.items() if not isinstance(v, str)}


def in_fastest_layout(images: Tensor) -> Tensor:
    """Returns images in the memory layout that is fastest for the convolutions of E or F.

    On the CPU this is channels_last, which all later layers keep: pooling and batch normalisation
    then take a third of the time, convolutions up to a third less. On other devices the images are
    returned unchanged.

    Args:
        images: ``[N, C, H, W]``.

    Returns:
        The same values.
    """
    if images.device.type != "cpu":
        return images
    return images.contiguous(memory_format=torch.channels_last)


def lrelu(x: Tensor, *, gain: float = 1.0) -> Tensor:
    """Applies leaky ReLU with slope 0.2, times a gain.

    Args:
        x: Tensor of any shape.
        gain: Factor on the output; √2 keeps the variance in StyleGAN2.

    Returns:
        Tensor of the same shape.
    """
    y = F.leaky_relu(x, LRELU_SLOPE)
    return y if gain == 1.0 else y * gain


def pixel_norm(x: Tensor, *, eps: float = 1e-8) -> Tensor:
    """Scales every vector along dimension 1 to unit mean square.

    Args:
        x: Tensor [N, C] or [N, C, H, W].
        eps: Added to the mean square.

    Returns:
        Tensor of the same shape.
    """
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


def minibatch_stddev(x: Tensor, *, group: int = 4, channels: int = 1) -> Tensor:
    """Appends the standard deviation over groups of images as extra feature maps.

    Args:
        x: Feature maps [N, C, H, W].
        group: Images per group. If it does not divide N, the largest smaller divisor of N is used,
            so that any batch size works.
        channels: Extra maps; each averages C / channels maps.

    Returns:
        Tensor [N, C + channels, H, W]. Image i is in the same group as images i ± N / group, …

    Source: Karras et al. 2018, Sec. 3; the grouping is StyleGAN2's.
    """
    n, c, h, w = x.shape
    size = next(g for g in range(min(group, n), 0, -1) if n % g == 0)
    y = x.reshape(size, n // size, channels, c // channels, h, w)
    y = (y - y.mean(dim=0)).square().mean(dim=0)  # [N / size, channels, C / channels, H, W]
    y = (y + 1e-8).sqrt()
    y = y.mean(dim=(2, 3, 4))  # [N / size, channels]
    y = y.repeat(size, 1)[:, :, None, None].expand(n, channels, h, w)
    return torch.cat([x, y], dim=1)


class EqualLinear(nn.Module):
    """Fully connected layer with equalised learning rate.

    Computes x · (weight · gain · lr_mul / √in)ᵀ + bias · lr_mul. The weight is stored raw, drawn
    from N(0, 1 / lr_mul²) by torch's default generator; the bias is stored raw too.

    Args:
        in_features: Width of the input.
        out_features: Width of the output.
        lr_mul: Learning-rate multiplier (0.01 in mapping networks).
        bias_init: Initial raw bias (1 in StyleGAN2's style layers).
        gain: Extra factor on the weight (√2 before a leaky ReLU in StyleGAN).

    Source: Karras et al. 2018, Sec. 4.1; parameters as NVlabs store them.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        lr_mul: float = 1.0,
        bias_init: float = 0.0,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.weight_gain = gain * lr_mul / math.sqrt(in_features)
        self.bias_gain = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [..., in] to [..., out]."""
        bias = self.bias if self.bias_gain == 1.0 else self.bias * self.bias_gain
        return F.linear(x, self.weight * self.weight_gain, bias)

    def extra_repr(self) -> str:
        """Shows the widths and the gain."""
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}, weight_gain={self.weight_gain:.4g}"


class EqualConv2d(nn.Module):
    """Convolution with equalised learning rate, "same" zero padding.

    The weight is stored raw, drawn from N(0, 1) by torch's default generator, and multiplied by
    gain / √(in · k²) at run time.

    Args:
        in_channels: Input maps.
        out_channels: Output maps.
        kernel_size: Odd size of the filters.
        bias: Whether a bias is learned.
        gain: Extra factor on the weight.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = gain / math.sqrt(in_channels * kernel_size**2)
        self.padding = kernel_size // 2

    def filters(self) -> Tensor:
        """Gives the weight as it enters the convolution [out, in, k, k]."""
        return self.weight * self.weight_gain

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, in, H, W] to [N, out, H, W]."""
        return F.conv2d(x, self.filters(), self.bias, padding=self.padding)

    def extra_repr(self) -> str:
        """Shows the shape of the filters and the gain."""
        return f"{tuple(self.weight.shape)}, weight_gain={self.weight_gain:.4g}"
