"""StyleGAN's generator (the paper's base model), with one w for all layers or one w per layer."""

from collections.abc import Sequence

import torch
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
from idinvert.networks.resample import blur, box_conv_up, fir_kernel

FUSED_FROM = 128
"""Output resolution from which NVlabs' `fused_scale='auto'` transposes the filters unflipped."""


class Epilogue(nn.Module):
    """Noise, bias, leaky ReLU, instance norm, style.

    Args:
        channels: Feature maps.
        w_dim: Width of w.

    Source: Karras et al. 2019, Fig. 1b; AdaIN, Eq. (1) there, with scale 1 + y_s.
    """

    def __init__(self, channels: int, *, w_dim: int) -> None:
        super().__init__()
        self.noise_weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = EqualLinear(w_dim, 2 * channels)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Maps x [N, C, H, W], w [N, w_dim] and noise [N or 1, 1, H, W] to [N, C, H, W]."""
        # All in the dtype of x: under autocast, float32 operands would promote bfloat16 tensors.
        if noise is not None:
            weight = self.noise_weight[:, None, None]
            x = torch.addcmul(x, noise.to(x.dtype), weight.to(x.dtype))
        x = lrelu(x + self.bias[:, None, None].to(x.dtype))
        x = x - x.mean(dim=(2, 3), keepdim=True)
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, dim=1)  # each [N, C, 1, 1]
        power = x.square().mean(dim=(2, 3), keepdim=True)
        factor = (scale + 1) * (power + 1e-8).rsqrt()
        return torch.addcmul(shift.to(x.dtype), x, factor.to(x.dtype))


class StyleGANSynthesis(Synthesis):
    """Maps style codes to images.

    Layer 0 styles the constant input; layer 1 convolves at 4 px; after that every even layer
    doubles the resolution and every odd one convolves at unchanged size. There are
    L = 2·log2(R) − 2 layers, each with one noise input.

    Args:
        resolution: Side of the image in pixels, R.
        w_dim: Width of w.
        channels: Feature maps at 4, 8, …, R.
        fused_from: Output resolution from which upsampling filters are used unflipped.
        final_tanh: Whether tanh bounds the image.
    """

    blur_kernel: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        w_dim: int,
        channels: Sequence[int],
        fused_from: int = FUSED_FROM,
        final_tanh: bool = False,
    ) -> None:
        const = torch.ones(channels[0], 4, 4)
        super().__init__(resolution=resolution, w_dim=w_dim, const=const)
        self.fused_from, self.final_tanh = fused_from, final_tanh
        # The convolution of layer i is convs[i − 1]: layer 0 has none.
        self.convs = nn.ModuleList()
        self.epilogues = nn.ModuleList()
        sides = resolutions(resolution)
        for i in range(self.num_layers):
            before, after = channels[max(i - 1, 0) // 2], channels[i // 2]
            if i > 0:
                conv = EqualConv2d(before, after, kernel_size=3, bias=False, gain=LRELU_GAIN)
                self.convs.append(conv)
            self.epilogues.append(Epilogue(after, w_dim=w_dim))
            self.add_noise_input(sides[i // 2])
        self.to_rgb = EqualConv2d(channels[-1], 3, kernel_size=1)
        self.register_buffer("blur_kernel", fir_kernel((1, 2, 1)), persistent=False)

    def layer(self, state: SynthesisState, w: Tensor, noise: Tensor | None) -> SynthesisState:
        """Applies convolution, noise and style; the last layer also returns the image."""
        i = state.layer
        x = self.epilogues[i](self._convolve(state.features, i), w[:, i], noise)
        image = None
        if i == self.num_layers - 1:
            image = self.to_rgb(x)
            image = image.tanh() if self.final_tanh else image
        return SynthesisState(x, image, i + 1)

    def _convolve(self, x: Tensor, i: int) -> Tensor:
        """Applies the convolution of layer i; upsampling ones are followed by the blur."""
        if i == 0:
            return x
        conv = self.convs[i - 1]
        assert isinstance(conv, EqualConv2d)
        if i % 2 == 1:
            return conv(x)
        flip = self.noise_shapes[i][0] < self.fused_from
        return blur(box_conv_up(x, conv.filters(), flip=flip), self.blur_kernel)


class StyleGANGenerator(Generator):
    """StyleGAN: mapping M and synthesis G.

    Args:
        resolution: Side of the image in pixels, a power of two.
        z_dim: Width of z.
        w_dim: Width of w.
        channels: Feature maps at 4, 8, …, resolution; None for the rule
            min(channel_base / side, channel_max).
        channel_base: Numerator of that rule; 16384 is NVlabs' fmap_base 8192, 64 maps at 256 px.
        channel_max: Upper bound of that rule.
        mapping_depth: Fully connected layers of M.
        mapping_width: Width of the hidden layers of M; None for w_dim.
        multi_w: Whether M yields one w per layer (the paper's retraining, Sec. 5.1).
        final_tanh: Whether tanh bounds the image; the authors' PyTorch port does, their TensorFlow
            code does not.
        fused_from: Output resolution from which upsampling filters are used unflipped.

    Source: Karras et al. 2019 (arXiv 1812.04948).
    Differs from the paper: no progressive growing, hence only one ToRGB.
    """

    def __init__(
        self,
        *,
        resolution: Resolution,
        z_dim: PositiveInt = 512,
        w_dim: PositiveInt = 512,
        channels: Widths | None = None,
        channel_base: int = 16384,
        channel_max: int = 512,
        mapping_depth: PositiveInt = 8,
        mapping_width: int | None = None,
        multi_w: bool = False,
        final_tanh: bool = False,
        fused_from: int = FUSED_FROM,
    ) -> None:
        width = widths(resolution, channels, channel_base=channel_base, channel_max=channel_max)
        super().__init__(
            synthesis=StyleGANSynthesis(
                resolution=resolution,
                w_dim=w_dim,
                channels=width,
                fused_from=fused_from,
                final_tanh=final_tanh,
            ),
            z_dim=z_dim,
            multi_w=multi_w,
            depth=mapping_depth,
            gain_on="weight",
            hidden_dim=mapping_width,
        )
        self.architecture = constructor_arguments(locals(), StyleGANGenerator)
