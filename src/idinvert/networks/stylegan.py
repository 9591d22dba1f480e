"""StyleGAN's generator (the paper's base model), with one w for all layers or one w a layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from idinvert.networks.generator import (
    Noise,
    SynthesisState,
    check_codes,
    check_noise,
    check_span,
    move_average,
    noise_map,
    resolutions,
    truncate,
    widths,
)
from idinvert.networks.layers import LRELU_GAIN, EqualConv2d, EqualLinear, lrelu
from idinvert.networks.mapping import MappingNetwork
from idinvert.networks.resample import blur, box_conv_up, fir_kernel

FUSED_FROM = 128
"""Output resolution from which NVlabs' `fused_scale='auto'` transposes the filters unflipped."""


class Epilogue(nn.Module):
    """Noise, bias, leaky ReLU, instance norm, style.

    Args:
        channels: Feature maps.
        w_dim: Width of w.

    Source: Karras et al. 2019, Fig. 1b; AdaIN, Eq. (1) there, with its scale as 1 + y_s.
    """

    def __init__(self, channels: int, *, w_dim: int) -> None:
        super().__init__()
        self.noise_weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = EqualLinear(w_dim, 2 * channels)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Maps x [N, C, H, W], w [N, w_dim] and noise [N or 1, 1, H, W] to [N, C, H, W]."""
        # In the type of x throughout: beside float32, what autocast made bfloat16 would grow again.
        if noise is not None:
            weight = self.noise_weight[:, None, None]
            x = torch.addcmul(x, noise.to(x.dtype), weight.to(x.dtype))
        x = lrelu(x + self.bias[:, None, None].to(x.dtype))
        x = x - x.mean(dim=(2, 3), keepdim=True)
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, dim=1)  # each [N, C, 1, 1]
        power = x.square().mean(dim=(2, 3), keepdim=True)
        factor = (scale + 1) * (power + 1e-8).rsqrt()
        return torch.addcmul(shift.to(x.dtype), x, factor.to(x.dtype))


class StyleGANSynthesis(nn.Module):
    """Maps style codes to images.

    Layer 0 styles the constant input; layer 1 convolves at 4 px; then every even layer doubles the
    resolution and every odd one convolves at unchanged size. L = 2·log2(R) − 2, each with one
    noise input.

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
        super().__init__()
        sides = resolutions(resolution)
        self.w_dim, self.fused_from, self.final_tanh = w_dim, fused_from, final_tanh
        self.num_layers = 2 * len(sides)
        # The convolution of layer i is convs[i − 1]: layer 0 has none.
        self.const = nn.Parameter(torch.ones(channels[0], 4, 4))
        self.convs = nn.ModuleList()
        self.epilogues = nn.ModuleList()
        self.noise_shapes: list[tuple[int, int]] = []
        for i in range(self.num_layers):
            before, after = channels[max(i - 1, 0) // 2], channels[i // 2]
            if i > 0:
                conv = EqualConv2d(before, after, kernel_size=3, bias=False, gain=LRELU_GAIN)
                self.convs.append(conv)
            self.epilogues.append(Epilogue(after, w_dim=w_dim))
            side = sides[i // 2]
            self.register_buffer(f"noise_{i}", torch.randn(1, 1, side, side))
            self.noise_shapes.append((side, side))
        self.to_rgb = EqualConv2d(channels[-1], 3, kernel_size=1)
        self.register_buffer("blur_kernel", fir_kernel((1, 2, 1)), persistent=False)

    def forward(
        self,
        w: Tensor,
        noise: Noise = "const",
        *,
        stop: int | None = None,
        resume: SynthesisState | None = None,
        rng: torch.Generator | None = None,
    ) -> Tensor | SynthesisState:
        """Runs the synthesis, or a part of it.

        Args:
            w: Style codes [N, L, w_dim].
            noise: "const" for the stored maps, "random" for maps drawn from rng, "none", or L maps
                [N or 1, 1, h, w].
            stop: Return the state after this many layers, 0 … L.
            resume: Continue from this state; w[:, :resume.layer] is then not read.
            rng: Source of random noise.

        Returns:
            Images [N, 3, R, R], in [-1, 1] but for outliers; or a SynthesisState, whose image is
            None before layer L.

        Raises:
            ValueError: Codes, noise or layer numbers do not fit.
        """
        check_codes(w, num_layers=self.num_layers, w_dim=self.w_dim)
        check_noise(noise, self.noise_shapes)
        first = 0 if resume is None else resume.layer
        last = self.num_layers if stop is None else stop
        check_span(first, last, num_layers=self.num_layers)
        image: Tensor | None = None
        if resume is None:
            x = self.const.expand(w.shape[0], -1, -1, -1)
            # channels_last spares the CPU's convolutions a reordering on the way in and out.
            x = x.contiguous(memory_format=torch.channels_last)
        else:
            x, image = resume.features, resume.image
        for i in range(first, last):
            stored = self.get_buffer(f"noise_{i}")
            maps = noise_map(noise, i, stored=stored, batch=w.shape[0], rng=rng)
            x = self.epilogues[i](self._convolve(x, i), w[:, i], maps)
            if i == self.num_layers - 1:
                image = self.to_rgb(x)
                image = image.tanh() if self.final_tanh else image
        if stop is not None:
            return SynthesisState(x, image, last)
        assert image is not None  # layer L − 1 was run, now or before
        return image

    def _convolve(self, x: Tensor, i: int) -> Tensor:
        """Runs the convolution of layer i, the upsampling ones with their blur."""
        if i == 0:
            return x
        conv = self.convs[i - 1]
        assert isinstance(conv, EqualConv2d)
        if i % 2 == 1:
            return conv(x)
        flip = self.noise_shapes[i][0] < self.fused_from
        return blur(box_conv_up(x, conv.filters(), flip=flip), self.blur_kernel)


class StyleGANGenerator(nn.Module):
    """StyleGAN: mapping M and synthesis G.

    Parameters are stored raw with gains at run time, as NVlabs store them, so that converted
    weights match; filters are [out, in, k, k].

    Args:
        resolution: Side of the image in pixels, a power of two.
        z_dim: Width of z.
        w_dim: Width of w.
        channels: Feature maps at 4, 8, …, resolution; None for the rule
            min(channel_base / side, channel_max).
        channel_base: Numerator of that rule; 16384 is NVlabs' fmap_base 8192, 64 maps at 256 px.
        channel_max: Its upper bound.
        mapping_depth: Fully connected layers of M.
        mapping_width: Width of its hidden layers; None for w_dim.
        multi_w: Whether M yields one w a layer (the paper's retraining, Sec. 5.1).
        final_tanh: Whether tanh bounds the image; the authors' PyTorch port does, their TensorFlow
            code does not.
        fused_from: Output resolution from which upsampling filters are used unflipped.

    Attributes:
        w_avg: Average w [L, w_dim]; see `track_w_avg`.
        noise_shapes: L sizes (h, w), one a noise input.

    Source: Karras et al. 2019 (arXiv 1812.04948).
    Differs from the paper: no progressive growing, hence one ToRGB only.
    """

    w_avg: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        z_dim: int = 512,
        w_dim: int = 512,
        channels: Sequence[int] | None = None,
        channel_base: int = 16384,
        channel_max: int = 512,
        mapping_depth: int = 8,
        mapping_width: int | None = None,
        multi_w: bool = False,
        final_tanh: bool = False,
        fused_from: int = FUSED_FROM,
    ) -> None:
        super().__init__()
        self.architecture = {
            "resolution": resolution,
            "z_dim": z_dim,
            "w_dim": w_dim,
            "channels": None if channels is None else list(channels),
            "channel_base": channel_base,
            "channel_max": channel_max,
            "mapping_depth": mapping_depth,
            "mapping_width": mapping_width,
            "multi_w": multi_w,
            "final_tanh": final_tanh,
            "fused_from": fused_from,
        }
        self.resolution, self.z_dim, self.w_dim, self.multi_w = resolution, z_dim, w_dim, multi_w
        self.synthesis = StyleGANSynthesis(
            resolution=resolution,
            w_dim=w_dim,
            channels=widths(
                resolution, channels, channel_base=channel_base, channel_max=channel_max
            ),
            fused_from=fused_from,
            final_tanh=final_tanh,
        )
        self.num_layers = self.synthesis.num_layers
        self.noise_shapes = self.synthesis.noise_shapes
        self.mapping = MappingNetwork(
            z_dim=z_dim,
            w_dim=w_dim,
            num_layers=self.num_layers,
            depth=mapping_depth,
            multi_w=multi_w,
            gain_on="weight",
            hidden_dim=mapping_width,
        )
        self.register_buffer("w_avg", torch.zeros(self.num_layers, w_dim))

    def track_w_avg(self, w: Tensor, *, decay: float = 0.995) -> None:
        """Moves w_avg towards the mean of w [N, L, w_dim], by 1 − decay."""
        move_average(self.w_avg, w, decay=decay)

    def forward(
        self,
        z: Tensor,
        *,
        noise: Noise = "const",
        truncation: float = 1.0,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Maps latent codes to images.

        Args:
            z: Latent codes [N, z_dim], drawn from N(0, I).
            noise: As in the synthesis.
            truncation: ψ, the share of w − w_avg that is kept.
            rng: Source of random noise.

        Returns:
            Images [N, 3, R, R], in [-1, 1] but for outliers.
        """
        w = truncate(self.mapping(z), self.w_avg, truncation)
        return self.synthesis(w, noise, rng=rng)
