"""StyleGAN's discriminator: plain convolutions, blurred downsampling."""

import torch
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
)
from idinvert.networks.resample import (
    blur,
    box_conv_down,
    fir_kernel,
    may_be_differentiated_twice,
)


class DownBlock(nn.Module):
    """A 3×3 convolution and a blur, then a second convolution that halves the resolution.

    Args:
        in_channels: Input maps.
        out_channels: Output maps.
    """

    blur_kernel: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = EqualConv2d(in_channels, in_channels, kernel_size=3, gain=LRELU_GAIN)
        self.conv1 = EqualConv2d(in_channels, out_channels, kernel_size=3, gain=LRELU_GAIN)
        self.register_buffer("blur_kernel", fir_kernel((1, 2, 1)), persistent=False)

    def forward(self, x: Tensor, *, twice: bool = False) -> Tensor:
        """Maps x [N, C_in, H, W] to [N, C_out, H / 2, W / 2]; twice: see `fir`."""
        x = blur(lrelu(self.conv0(x)), self.blur_kernel, twice=twice)
        return lrelu(box_conv_down(x, self.conv1.filters(), bias=self.conv1.bias))


class StyleGANDiscriminator(nn.Module):
    """Classifies images: one logit per image, high for real.

    Args:
        resolution: Side of the image in pixels, a power of two.
        channels: Feature maps at 4, 8, …, resolution; None for the rule
            min(channel_base / side, channel_max).
        channel_base: Numerator of that rule; 16384 is NVlabs' fmap_base 8192.
        channel_max: Upper bound of that rule.
        mbstd_group: Images per group of the minibatch standard deviation.
        mbstd_channels: Maps appended by the minibatch standard deviation; 0 leaves it out, so that
            every logit depends on its own image only.
        fc_width: Outputs of the first dense layer; None for the feature maps at 4 px.

    Source: Karras et al. 2018, Table 2, with StyleGAN's blur.
    Differs from the paper: no progressive growing, hence only one FromRGB.
    """

    def __init__(
        self,
        *,
        resolution: Resolution,
        channels: Widths | None = None,
        channel_base: int = 16384,
        channel_max: int = 512,
        mbstd_group: int = 4,
        mbstd_channels: int = 1,
        fc_width: int | None = None,
    ) -> None:
        super().__init__()
        self.architecture = constructor_arguments(locals(), StyleGANDiscriminator)
        self.resolution = resolution
        self.mbstd_group, self.mbstd_channels = mbstd_group, mbstd_channels
        width = widths(resolution, channels, channel_base=channel_base, channel_max=channel_max)
        self.from_rgb = EqualConv2d(3, width[-1], kernel_size=1, gain=LRELU_GAIN)
        self.blocks = nn.ModuleList(
            DownBlock(width[i], width[i - 1])
            for i in range(len(resolutions(resolution)) - 1, 0, -1)
        )
        self.conv = EqualConv2d(width[0] + mbstd_channels, width[0], kernel_size=3, gain=LRELU_GAIN)
        fc_width = width[0] if fc_width is None else fc_width
        self.fc = EqualLinear(width[0] * 16, fc_width, gain=LRELU_GAIN)
        self.out = EqualLinear(fc_width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of images.

        Args:
            images: Images [N, 3, R, R] in [-1, 1].

        Returns:
            Logits [N].

        Raises:
            ValueError: The images have the wrong shape.
        """
        check_images(images, self.resolution)
        twice = may_be_differentiated_twice(images, self.from_rgb.weight)
        # channels_last saves the CPU's convolutions from reordering inputs and outputs.
        x = lrelu(self.from_rgb(images.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            x = block(x, twice=twice)
        if self.mbstd_channels:
            x = minibatch_stddev(x, group=self.mbstd_group, channels=self.mbstd_channels)
        x = lrelu(self.conv(x))
        x = lrelu(self.fc(x.flatten(1)))  # [N, C]
        return self.out(x).squeeze(1)  # [N]
