"""StyleGAN2's generator: mapping with one w for all layers or one per layer, and synthesis."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert.annotations import PositiveInt, Resolution, Widths
from idinvert.networks.generator import Generator, Synthesis, SynthesisState, resolutions, widths
from idinvert.networks.layers import (
    LRELU_GAIN,
    EqualConv2d,
    EqualLinear,
    constructor_arguments,
    lrelu,
)
from idinvert.networks.resample import conv_up, fir_kernel, upsample

CONNECTIONS = ("skip", "resnet", "orig")
HALF = 0.5**0.5
"""Gain of both branches of a residual block; it keeps the variance of their sum."""


class StyleGAN2Generator(Generator):
    """StyleGAN2: mapping M and synthesis G.

    Args:
        resolution: Side of the image in pixels, a power of two.
        z_dim: Width of z.
        w_dim: Width of w.
        channels: Feature maps at 4, 8, …, resolution; None for the rule
            min(channel_base / side, channel_max).
        channel_base: Numerator of that rule (32768: config F; 16384: half width).
        channel_max: Upper bound of that rule.
        mapping_depth: Fully connected layers of M.
        multi_w: Whether M yields one w per layer (the paper's retraining, Sec. 5.1).
        conv_clamp: Bound on the magnitude of every layer's output; 256 in NVlabs' half-precision
            models, None elsewhere.
        connections: Architecture of the synthesis: "skip", "resnet" or "orig".
        mapping_lr_mul: Learning-rate multiplier of M.
        mapping_width: Width of M's hidden layers; None for w_dim.
        c_dim: Width of the labels c of a conditional generator; 0 for an unconditional one.
        embed_dim: Width of the labels' embedding; None for w_dim.

    Source: Karras et al. 2020 (arXiv 1912.04958); labels as in Karras et al. 2020
        (arXiv 2006.06676).
    Differs from the paper: no style mixing here; the training loop may mix w before the synthesis.
    """

    def __init__(
        self,
        *,
        resolution: Resolution,
        z_dim: PositiveInt = 512,
        w_dim: PositiveInt = 512,
        channels: Widths | None = None,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_depth: PositiveInt = 8,
        multi_w: bool = False,
        conv_clamp: float | None = None,
        connections: str = "skip",
        mapping_lr_mul: float = 0.01,
        mapping_width: int | None = None,
        c_dim: int = 0,
        embed_dim: int | None = None,
    ) -> None:
        width = widths(resolution, channels, channel_base=channel_base, channel_max=channel_max)
        super().__init__(
            synthesis=StyleGAN2Synthesis(
                resolution=resolution,
                w_dim=w_dim,
                channels=width,
                conv_clamp=conv_clamp,
                connections=connections,
            ),
            z_dim=z_dim,
            multi_w=multi_w,
            depth=mapping_depth,
            lr_mul=mapping_lr_mul,
            c_dim=c_dim,
            embed_dim=embed_dim,
            hidden_dim=mapping_width,
        )
        self.architecture = constructor_arguments(locals(), StyleGAN2Generator)


class StyleGAN2Synthesis(Synthesis):
    """Maps style codes to images.

    Layer 0 is the convolution at 4 px. An odd layer i applies ToRGB to the features with w_i and
    then, except for the last one, doubles the resolution with the same w_i; an even layer convolves
    at unchanged size. So L = 2·log2(R) − 2 layers have L − 1 convolutions, each with a noise input.
    Without skip connections only the last layer applies ToRGB; the w are counted in the same way.

    Args:
        resolution: Side of the image in pixels, R.
        w_dim: Width of w.
        channels: Feature maps at 4, 8, …, R.
        conv_clamp: Bound on the magnitude of every layer's output, or None.
        connections: "skip" sums images of all resolutions; "resnet" adds a 1×1 shortcut around
            both convolutions of a resolution; "orig" does neither.

    Raises:
        ValueError: Unknown connections.

    Source: Karras et al. 2020, Fig. 7.
    """

    up_kernel: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        w_dim: int,
        channels: Sequence[int],
        conv_clamp: float | None = None,
        connections: str = "skip",
    ) -> None:
        check_connections(connections)
        const = torch.randn(channels[0], 4, 4)
        super().__init__(resolution=resolution, w_dim=w_dim, const=const)
        self.connections, self.conv_clamp = connections, conv_clamp
        self.convs = nn.ModuleList()
        self.to_rgb = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        for i, side in enumerate(resolutions(resolution)):
            if i > 0:
                self._append_conv(channels[i - 1], channels[i], side, up=True)
            self._append_conv(channels[i], channels[i], side, up=False)
            if connections == "skip" or side == resolution:
                self.to_rgb.append(ToRGB(channels[i], w_dim=w_dim, conv_clamp=conv_clamp))
            if connections == "resnet" and i > 0:
                shortcut = EqualConv2d(
                    channels[i - 1], channels[i], kernel_size=1, bias=False, gain=HALF
                )
                self.shortcuts.append(shortcut)
        self.register_buffer("up_kernel", fir_kernel((1, 3, 3, 1)), persistent=False)

    def _append_conv(self, before: int, after: int, side: int, *, up: bool) -> None:
        summed = self.connections == "resnet" and not up and side > 4
        conv = StyledConv(
            before,
            after,
            w_dim=self.w_dim,
            up=up,
            conv_clamp=self.conv_clamp,
            out_gain=HALF if summed else 1.0,
        )
        self.convs.append(conv)
        self.add_noise_input(side)

    def layer(self, state: SynthesisState, w: Tensor, noise: Tensor | None) -> SynthesisState:
        """Applies ToRGB to the features if the layer has one, then convolves them."""
        x, image, i, shortcut = state
        last, odd = i == self.num_layers - 1, i % 2 == 1
        if odd and (last or self.connections == "skip"):
            # Counted from the end, so that a single ToRGB is found too.
            rgb = self.to_rgb[i // 2 - self.num_layers // 2](x, w[:, i])
            image = rgb if image is None else upsample(image, self.up_kernel) + rgb
        if last:
            return SynthesisState(x, image, i + 1, shortcut)
        if odd and self.connections == "resnet":
            shortcut = upsample(self.shortcuts[i // 2](x), self.up_kernel)
        x = self.convs[i](x, w[:, i], noise)
        if not odd and shortcut is not None:
            x, shortcut = x + shortcut, None
        return SynthesisState(x, image, i + 1, shortcut)


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """Returns the factor that restores unit variance after a modulated convolution.

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
    """Convolves with filters scaled by a style for each image.

    The activations are scaled instead of the filters, so that one convolution serves a whole
    batch; equivalent to a grouped convolution, in a third of its time on the CPU.

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
        # In the dtype of x: under autocast, a float32 factor would promote a bfloat16 x.
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
        out_gain: Factor on the output, in addition to the activation's √2.

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
        # As in NVlabs' code: clamped after the gain, to the bound times out_gain.
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
        # Leaky ReLU is homogeneous: applying its gain before it saves a pass.
        offset = (self.bias * self.gain)[:, None, None]
        if noise is not None:
            offset = noise * (self.noise_strength * self.gain) + offset
            # Keeps the memory layout of x, which the sum would otherwise change.
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


def check_connections(connections: str) -> None:
    """Refuses an unknown architecture.

    Raises:
        ValueError: It is not one of `CONNECTIONS`.
    """
    if connections not in CONNECTIONS:
        raise ValueError(
            f"connections={connections!r}, expected one of {list(CONNECTIONS)}: set "
            "generator.connections, discriminator.connections"
        )
