"""StyleGAN2's discriminator (residual architecture)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert.networks.generator import check_images, resolutions, widths
from idinvert.networks.layers import (
    LRELU_GAIN,
    EqualConv2d,
    EqualLinear,
    lrelu,
    minibatch_stddev,
)
from idinvert.networks.resample import conv_down, fir_kernel


class ActivatedConv(nn.Module):
    """Convolution with bias and leaky ReLU of gain √2, on demand with halved resolution.

    Args:
        in_channels: Input maps.
        out_channels: Output maps.
        kernel_size: 1 or 3.
        down: Whether the resolution is halved: FIR filter, then stride 2.
        out_gain: Factor on the output, beside the activation's √2.
        conv_clamp: Bound on the output's magnitude, scaled by out_gain, or None.
    """

    down_kernel: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        down: bool = False,
        out_gain: float = 1.0,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.padding = kernel_size // 2
        # Leaky ReLU scales with its input: the gain goes into filters and bias, sparing a pass.
        self.bias_gain = LRELU_GAIN * out_gain
        self.weight_gain = self.bias_gain / math.sqrt(in_channels * kernel_size**2)
        self.clamp = None if conv_clamp is None else conv_clamp * out_gain
        self.register_buffer(
            "down_kernel", fir_kernel((1, 3, 3, 1)) if down else None, persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C_in, H, W] to [N, C_out, H, W], or to half that size."""
        weight, bias = self.weight * self.weight_gain, self.bias * self.bias_gain
        if self.down_kernel is not None:
            x = conv_down(x, weight, self.down_kernel, bias=bias)
        else:
            x = F.conv2d(x, weight, bias, padding=self.padding)
        x = lrelu(x)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, the second with halved resolution, beside a 1×1 shortcut.

    Args:
        in_channels: Input maps.
        out_channels: Output maps.
        conv_clamp: Bound on the magnitude of the convolutions' outputs, or None.
    """

    down_kernel: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, conv_clamp: float | None = None
    ) -> None:
        super().__init__()
        half = math.sqrt(0.5)  # keeps the variance of the sum
        self.conv0 = ActivatedConv(in_channels, in_channels, kernel_size=3, conv_clamp=conv_clamp)
        self.conv1 = ActivatedConv(
            in_channels,
            out_channels,
            kernel_size=3,
            down=True,
            out_gain=half,
            conv_clamp=conv_clamp,
        )
        self.skip = EqualConv2d(in_channels, out_channels, kernel_size=1, bias=False, gain=half)
        self.register_buffer("down_kernel", fir_kernel((1, 3, 3, 1)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C_in, H, W] to [N, C_out, H / 2, W / 2]."""
        shortcut = conv_down(x, self.skip.filters(), self.down_kernel)
        return self.conv1(self.conv0(x)) + shortcut


class StyleGAN2Discriminator(nn.Module):
    """Judges images: one logit each, high for real.

    Args:
        resolution: Side of the image in pixels, a power of two.
        channels: Feature maps at 4, 8, …, resolution; None for the rule
            min(channel_base / side, channel_max).
        channel_base: Numerator of that rule.
        channel_max: Its upper bound.
        mbstd_group: Images in a group of the minibatch standard deviation.
        mbstd_channels: Maps it appends; 0 leaves it out, and every logit depends on its image
            alone.
        conv_clamp: Bound on the magnitude of every layer's output, or None.

    Source: Karras et al. 2020, Fig. 7c.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: Sequence[int] | None = None,
        channel_base: int = 32768,
        channel_max: int = 512,
        mbstd_group: int = 4,
        mbstd_channels: int = 1,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.architecture = {
            "resolution": resolution,
            "channels": None if channels is None else list(channels),
            "channel_base": channel_base,
            "channel_max": channel_max,
            "mbstd_group": mbstd_group,
            "mbstd_channels": mbstd_channels,
            "conv_clamp": conv_clamp,
        }
        self.resolution = resolution
        self.mbstd_group, self.mbstd_channels = mbstd_group, mbstd_channels
        width = widths(resolution, channels, channel_base=channel_base, channel_max=channel_max)
        self.from_rgb = ActivatedConv(3, width[-1], kernel_size=1, conv_clamp=conv_clamp)
        self.blocks = nn.ModuleList(
            ResidualBlock(width[i], width[i - 1], conv_clamp=conv_clamp)
            for i in range(len(resolutions(resolution)) - 1, 0, -1)
        )
        self.conv = ActivatedConv(
            width[0] + mbstd_channels, width[0], kernel_size=3, conv_clamp=conv_clamp
        )
        self.fc = EqualLinear(width[0] * 16, width[0])
        self.out = EqualLinear(width[0], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Judges images.

        Args:
            images: Images [N, 3, R, R] in [-1, 1].

        Returns:
            Logits [N].

        Raises:
            ValueError: The images have another shape.
        """
        check_images(images, self.resolution)
        # channels_last spares the CPU's convolutions a reordering on the way in and out.
        x = self.from_rgb(images.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        if self.mbstd_channels:
            x = minibatch_stddev(x, group=self.mbstd_group, channels=self.mbstd_channels)
        x = self.conv(x)
        x = lrelu(self.fc(x.flatten(1)), gain=LRELU_GAIN)  # [N, C]
        return self.out(x).squeeze(1)  # [N]
