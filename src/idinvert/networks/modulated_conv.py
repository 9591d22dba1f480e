"""StyleGAN2's modulated convolution and the two layers built on it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert.networks.layers import LRELU_GAIN, EqualLinear, lrelu
from idinvert.networks.resample import conv_up, fir_kernel


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """Gives the factor that restores unit variance after a modulated convolution.

    Args:
        weight: Filters [C_out, C_in, k, k].
        styles: Factors on the input maps [N, C_in].

    Returns:
        Tensor [N, C_out], (Σ (weight · style)² + 1e-8)^(−1/2).

    Source: Karras et al. 2020, Eq. (3).
    """
    power = weight.square().sum(dim=(2, 3))  # [C_out, C_in]
    return (styles.square() @ power.t() + 1e-8).rsqrt()


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    up_kernel: Tensor | None = None,
    demodulate: bool = True,
    gain: float = 1.0,
    offset: Tensor | None = None,
) -> Tensor:
    """Convolves with filters that a style scales per image.

    Scales the activations instead of the filters, so that one convolution serves the whole batch:
    the same function as a grouped convolution, at a third of its time on the CPU.

    Args:
        x: Feature maps [N, C_in, H, W].
        weight: Filters [C_out, C_in, k, k], k odd.
        styles: Factors on the input maps [N, C_in].
        up_kernel: FIR filter [4, 4]; doubles the size by transposed convolution and this filter.
        demodulate: Whether the output is scaled back to unit variance.
        gain: Factor on the convolution's output (not on the offset).
        offset: Added last, broadcastable to the output.

    Returns:
        Tensor [N, C_out, H, W], or [N, C_out, 2H, 2W] with `up_kernel`.
    """
    x = x * styles[:, :, None, None]
    if up_kernel is not None:
        x = conv_up(x, weight, up_kernel)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if demodulate:
        # In the type of x: beside float32, what autocast made bfloat16 would grow again.
        factor = (demodulation(weight, styles) * gain)[:, :, None, None].to(x.dtype)
        return x * factor if offset is None else torch.addcmul(offset.to(x.dtype), x, factor)
    if gain != 1.0:
        x = x * gain
    return x if offset is None else x + offset


class StyledConv(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU; StyleGAN2's layer.

    Args:
        in_channels: Input maps.
        out_channels: Output maps.
        w_dim: Width of w.
        up: Whether the layer doubles the resolution.
        conv_clamp: Bound on the output's magnitude, scaled by out_gain, or None.
        out_gain: Factor on the output, beside the activation's √2.

    Source: Karras et al. 2020, Fig. 2 and Sec. 2.2.
    """

    up_kernel: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        up: bool,
        conv_clamp: float | None = None,
        out_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.gain = LRELU_GAIN * out_gain
        # As NVlabs write it: clamped after the gain, to the bound times out_gain.
        self.clamp = None if conv_clamp is None else conv_clamp * out_gain
        self.register_buffer(
            "up_kernel", fir_kernel((1, 3, 3, 1)) if up else None, persistent=False
        )

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Runs the layer.

        Args:
            x: Feature maps [N, C_in, H, W].
            w: Style code of this layer [N, w_dim].
            noise: Noise [N or 1, 1, h, w] at the output's size, or None.

        Returns:
            Feature maps [N, C_out, h, w].
        """
        # Leaky ReLU scales with its input: its gain goes in front, which spares a pass.
        offset = (self.bias * self.gain)[:, None, None]
        if noise is not None:
            offset = noise * (self.noise_strength * self.gain) + offset
            # In the layout of x, which the sum would leave otherwise.
            offset = offset.contiguous(memory_format=torch.channels_last)
        x = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            up_kernel=self.up_kernel,
            gain=self.gain,
            offset=offset,
        )
        x = lrelu(x)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to three channels, without demodulation.

    Args:
        in_channels: Input maps.
        w_dim: Width of w.
        conv_clamp: Bound on the output's magnitude, or None.
    """

    def __init__(self, in_channels: int, *, w_dim: int, conv_clamp: float | None = None) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.conv_clamp = conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps features x [N, C, H, W] and w [N, w_dim] to colours [N, 3, H, W]."""
        x = modulated_conv2d(
            x,
            self.weight,
            self.affine(w) * self.weight_gain,
            demodulate=False,
            offset=self.bias[:, None, None],
        )
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)
