"""StyleGAN2's discriminator: residual, skip or plain connections."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert.annotations import Resolution, Widths
from idinvert.networks.generator import check_images, resolutions, widths
from idinvert.networks.layers import (
    LRELU_GAIN,
    EqualConv2d,
    EqualLinear,
    constructor_arguments,
    lrelu,
    minibatch_stddev,
    pixel_norm,
)
from idinvert.networks.mapping import check_labels
from idinvert.networks.resample import (
    conv_down,
    downsample,
    fir_kernel,
    may_be_differentiated_twice,
)
from idinvert.networks.stylegan2 import HALF, check_connections


class ActivatedConv(nn.Module):
    """Convolution with bias and leaky ReLU of gain √2, optionally with halved resolution.

    Args:
        in_channels: Input maps.
        out_channels: Output maps.
        kernel_size: 1 or 3.
        down: Whether the resolution is halved: FIR filter, then stride 2.
        out_gain: Factor on the output, in addition to the activation's √2.
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
        # Leaky ReLU is homogeneous: applying the gain to filters and bias saves a pass.
        self.bias_gain = LRELU_GAIN * out_gain
        self.weight_gain = self.bias_gain / math.sqrt(in_channels * kernel_size**2)
        self.clamp = None if conv_clamp is None else conv_clamp * out_gain
        self.register_buffer(
            "down_kernel", fir_kernel((1, 3, 3, 1)) if down else None, persistent=False
        )

    def forward(self, x: Tensor, *, twice: bool = False) -> Tensor:
        """Maps x [N, C_in, H, W] to [N, C_out, H, W], or to half that size; twice: see `fir`."""
        weight, bias = self.weight * self.weight_gain, self.bias * self.bias_gain
        if self.down_kernel is not None:
            x = conv_down(x, weight, self.down_kernel, bias=bias, twice=twice)
        else:
            x = F.conv2d(x, weight, bias, padding=self.padding)
        x = lrelu(x)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class DiscriminatorBlock(nn.Module):
    """Two 3×3 convolutions, the second with halved resolution, and an optional 1×1 shortcut.

    Args:
        in_channels: Input maps.
        out_channels: Output maps.
        conv_clamp: Bound on the magnitude of the convolutions' outputs, or None.
        residual: Whether there is a shortcut.
    """

    down_kernel: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        conv_clamp: float | None = None,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.conv0 = ActivatedConv(in_channels, in_channels, kernel_size=3, conv_clamp=conv_clamp)
        self.conv1 = ActivatedConv(
            in_channels,
            out_channels,
            kernel_size=3,
            down=True,
            out_gain=HALF if residual else 1.0,
            conv_clamp=conv_clamp,
        )
        self.skip: EqualConv2d | None = None
        if residual:
            self.skip = EqualConv2d(in_channels, out_channels, kernel_size=1, bias=False, gain=HALF)
        self.register_buffer("down_kernel", fir_kernel((1, 3, 3, 1)), persistent=False)

    def forward(self, x: Tensor, *, twice: bool = False) -> Tensor:
        """Maps x [N, C_in, H, W] to [N, C_out, H / 2, W / 2]; twice: see `fir`."""
        if self.skip is None:
            return self.conv1(self.conv0(x), twice=twice)
        shortcut = conv_down(x, self.skip.filters(), self.down_kernel, twice=twice)
        return self.conv1(self.conv0(x), twice=twice) + shortcut


class LabelMapping(nn.Module):
    """Maps labels to the vector onto which a conditional discriminator projects its features.

    Args:
        c_dim: Width of the label c.
        width: Width of the embedding and of every layer.
        depth: Fully connected layers after the normalised embedding, 0 or more.
        lr_mul: Learning-rate multiplier of these layers.

    Source: Karras et al. 2020 (arXiv 2006.06676), D's mapping network.
    """

    def __init__(self, c_dim: int, width: int, *, depth: int, lr_mul: float) -> None:
        super().__init__()
        self.embed = EqualLinear(c_dim, width)
        self.layers = nn.ModuleList(EqualLinear(width, width, lr_mul=lr_mul) for _ in range(depth))

    def forward(self, c: Tensor) -> Tensor:
        """Maps c [N, c_dim] to [N, width]."""
        x = pixel_norm(self.embed(c))
        for layer in self.layers:
            x = lrelu(layer(x), gain=LRELU_GAIN)
        return x


class StyleGAN2Discriminator(nn.Module):
    """Classifies images: one logit per image, high for real.

    A conditional discriminator projects its last features onto the embedded label.

    Args:
        resolution: Side of the image in pixels, a power of two.
        channels: Feature maps at 4, 8, …, resolution; None for the rule
            min(channel_base / side, channel_max).
        channel_base: Numerator of that rule.
        channel_max: Upper bound of that rule.
        mbstd_group: Images per group of the minibatch standard deviation; None for the whole
            batch.
        mbstd_channels: Maps appended by the minibatch standard deviation; 0 leaves it out, so that
            every logit depends on its own image only.
        conv_clamp: Bound on the magnitude of every layer's output, or None.
        connections: "resnet" adds a 1×1 shortcut around both convolutions of a resolution; "skip"
            feeds the downsampled image to every resolution; "orig" does neither.
        c_dim: Width of the labels c of a conditional discriminator; 0 for an unconditional one.
        cmap_dim: Width of the projection; None for the feature maps at 4 px.
        cmap_depth: Fully connected layers between the label's embedding and the projection.
        cmap_lr_mul: Learning-rate multiplier of these layers.
        fc_width: Width of the last hidden layer; None for the feature maps at 4 px.

    Source: Karras et al. 2020, Fig. 7; labels as in Karras et al. 2020 (arXiv 2006.06676).
    """

    down_kernel: Tensor

    def __init__(
        self,
        *,
        resolution: Resolution,
        channels: Widths | None = None,
        channel_base: int = 32768,
        channel_max: int = 512,
        mbstd_group: int | None = 4,
        mbstd_channels: int = 1,
        conv_clamp: float | None = None,
        connections: str = "resnet",
        c_dim: int = 0,
        cmap_dim: int | None = None,
        cmap_depth: int = 8,
        cmap_lr_mul: float = 0.01,
        fc_width: int | None = None,
    ) -> None:
        super().__init__()
        self.architecture = constructor_arguments(locals(), StyleGAN2Discriminator)
        check_connections(connections)
        self.resolution, self.c_dim = resolution, c_dim
        self.mbstd_group, self.mbstd_channels = mbstd_group, mbstd_channels
        width = widths(resolution, channels, channel_base=channel_base, channel_max=channel_max)
        self.from_rgb = ActivatedConv(3, width[-1], kernel_size=1, conv_clamp=conv_clamp)
        residual = connections == "resnet"
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(width[i], width[i - 1], conv_clamp=conv_clamp, residual=residual)
            for i in range(len(resolutions(resolution)) - 1, 0, -1)
        )
        # One per block, for the image after it; NVlabs' code does not clamp the last, at 4 px.
        self.from_rgbs = nn.ModuleList()
        if connections == "skip":
            for i in range(len(width) - 2, -1, -1):
                clamp = conv_clamp if i > 0 else None
                self.from_rgbs.append(ActivatedConv(3, width[i], kernel_size=1, conv_clamp=clamp))
        self.conv = ActivatedConv(
            width[0] + mbstd_channels, width[0], kernel_size=3, conv_clamp=conv_clamp
        )
        fc_width = width[0] if fc_width is None else fc_width
        self.fc = EqualLinear(width[0] * 16, fc_width)
        self.cmap: LabelMapping | None = None
        if c_dim > 0:
            cmap_dim = cmap_dim or width[0]
            self.cmap = LabelMapping(c_dim, cmap_dim, depth=cmap_depth, lr_mul=cmap_lr_mul)
        self.out = EqualLinear(fc_width, cmap_dim if c_dim > 0 and cmap_dim else 1)
        self.register_buffer("down_kernel", fir_kernel((1, 3, 3, 1)), persistent=False)

    def forward(self, images: Tensor, c: Tensor | None = None) -> Tensor:
        """Returns the logits of images.

        Args:
            images: Images [N, 3, R, R] in [-1, 1].
            c: Labels [N, c_dim] of a conditional discriminator.

        Returns:
            Logits [N].

        Raises:
            ValueError: The images or labels have the wrong shape, or labels are missing.
        """
        check_images(images, self.resolution)
        twice = may_be_differentiated_twice(images, self.from_rgb.weight)
        # channels_last saves the CPU's convolutions from reordering inputs and outputs.
        x = self.from_rgb(images.contiguous(memory_format=torch.channels_last))
        for i, block in enumerate(self.blocks):
            x = block(x, twice=twice)
            if len(self.from_rgbs) > 0:
                images = downsample(images, self.down_kernel, twice=twice)
                x = x + self.from_rgbs[i](images)
        if self.mbstd_channels:
            group = len(x) if self.mbstd_group is None else self.mbstd_group
            x = minibatch_stddev(x, group=group, channels=self.mbstd_channels)
        x = self.conv(x)
        x = lrelu(self.fc(x.flatten(1)), gain=LRELU_GAIN)  # [N, fc_width]
        x = self.out(x)  # [N, 1 or cmap_dim]
        if self.cmap is not None:
            labels = self.cmap(check_labels(c, len(x), self.c_dim))
            return (x * labels).sum(dim=1) / math.sqrt(labels.shape[1])  # [N]
        return x.squeeze(1)  # [N]
