"""StyleGAN2's generator (skip architecture), with one w for all layers or one w a layer."""

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
from idinvert.networks.mapping import MappingNetwork
from idinvert.networks.modulated_conv import StyledConv, ToRGB
from idinvert.networks.resample import fir_kernel, upsample


class StyleGAN2Synthesis(nn.Module):
    """Maps style codes to images.

    Layer 0 is the convolution at 4 px. An odd layer i shows the features through ToRGB with w_i and
    then, the last one excepted, doubles the resolution with the same w_i; an even one convolves at
    unchanged size. So L = 2·log2(R) − 2 layers hold L − 1 convolutions, each with one noise input.

    Args:
        resolution: Side of the image in pixels, R.
        w_dim: Width of w.
        channels: Feature maps at 4, 8, …, R.
        conv_clamp: Bound on the magnitude of every layer's output, or None.
    """

    up_kernel: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        w_dim: int,
        channels: Sequence[int],
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        sides = resolutions(resolution)
        self.w_dim = w_dim
        self.num_layers = 2 * len(sides)
        self.const = nn.Parameter(torch.randn(channels[0], 4, 4))
        self.convs = nn.ModuleList()
        self.to_rgb = nn.ModuleList()
        self.noise_shapes: list[tuple[int, int]] = []
        for i, side in enumerate(sides):
            if i > 0:
                self._append_conv(channels[i - 1], channels[i], side, up=True, clamp=conv_clamp)
            self._append_conv(channels[i], channels[i], side, up=False, clamp=conv_clamp)
            self.to_rgb.append(ToRGB(channels[i], w_dim=w_dim, conv_clamp=conv_clamp))
        self.register_buffer("up_kernel", fir_kernel((1, 3, 3, 1)), persistent=False)

    def _append_conv(
        self, before: int, after: int, side: int, *, up: bool, clamp: float | None
    ) -> None:
        self.convs.append(StyledConv(before, after, w_dim=self.w_dim, up=up, conv_clamp=clamp))
        self.register_buffer(f"noise_{len(self.noise_shapes)}", torch.randn(1, 1, side, side))
        self.noise_shapes.append((side, side))

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
            noise: "const" for the stored maps, "random" for maps drawn from rng, "none", or L − 1
                maps [N or 1, 1, h, w].
            stop: Return the state after this many layers, 0 … L.
            resume: Continue from this state; w[:, :resume.layer] is then not read.
            rng: Source of random noise.

        Returns:
            Images [N, 3, R, R], unbounded, in [-1, 1] but for outliers; or a SynthesisState.

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
            if i % 2 == 1:
                rgb = self.to_rgb[i // 2](x, w[:, i])
                image = rgb if image is None else upsample(image, self.up_kernel) + rgb
            if i < len(self.convs):
                stored = self.get_buffer(f"noise_{i}")
                maps = noise_map(noise, i, stored=stored, batch=w.shape[0], rng=rng)
                x = self.convs[i](x, w[:, i], maps)
        if stop is not None:
            return SynthesisState(x, image, last)
        assert image is not None  # layer L − 1 was run, now or before
        return image


class StyleGAN2Generator(nn.Module):
    """StyleGAN2: mapping M and synthesis G.

    Parameters are stored raw with gains at run time, exactly as NVlabs store them, so that
    converted weights match.

    Args:
        resolution: Side of the image in pixels, a power of two.
        z_dim: Width of z.
        w_dim: Width of w.
        channels: Feature maps at 4, 8, …, resolution; None for the rule
            min(channel_base / side, channel_max).
        channel_base: Numerator of that rule (32768: config F; 16384: half width).
        channel_max: Its upper bound.
        mapping_depth: Fully connected layers of M.
        multi_w: Whether M yields one w a layer (the paper's retraining, Sec. 5.1).
        conv_clamp: Bound on the magnitude of every layer's output; 256 in NVlabs' half-precision
            models, None elsewhere.

    Attributes:
        w_avg: Average w [L, w_dim]; see `track_w_avg`.
        noise_shapes: L − 1 sizes (h, w), one a noise input.

    Source: Karras et al. 2020 (arXiv 1912.04958).
    Differs from the paper: no style mixing here; the training loop may mix w before the synthesis.
    """

    w_avg: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        z_dim: int = 512,
        w_dim: int = 512,
        channels: Sequence[int] | None = None,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_depth: int = 8,
        multi_w: bool = False,
        conv_clamp: float | None = None,
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
            "multi_w": multi_w,
            "conv_clamp": conv_clamp,
        }
        self.resolution, self.z_dim, self.w_dim, self.multi_w = resolution, z_dim, w_dim, multi_w
        self.synthesis = StyleGAN2Synthesis(
            resolution=resolution,
            w_dim=w_dim,
            channels=widths(
                resolution, channels, channel_base=channel_base, channel_max=channel_max
            ),
            conv_clamp=conv_clamp,
        )
        self.num_layers = self.synthesis.num_layers
        self.noise_shapes = self.synthesis.noise_shapes
        self.mapping = MappingNetwork(
            z_dim=z_dim,
            w_dim=w_dim,
            num_layers=self.num_layers,
            depth=mapping_depth,
            multi_w=multi_w,
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
