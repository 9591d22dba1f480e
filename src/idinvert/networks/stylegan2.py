"""StyleGAN2: the mapping with one w for all layers or one w a layer, and the synthesis."""

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
from idinvert.networks.layers import EqualConv2d
from idinvert.networks.mapping import MappingNetwork
from idinvert.networks.modulated_conv import StyledConv, ToRGB
from idinvert.networks.resample import fir_kernel, upsample

CONNECTIONS = ("skip", "resnet", "orig")
HALF = 0.5**0.5
"""Gain of both branches of a residual block; it keeps the variance of their sum."""


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
        connections: Architecture of the synthesis: "skip", "resnet" or "orig".
        mapping_lr_mul: Learning-rate multiplier of M.
        mapping_width: Width of M's hidden layers; None for w_dim.
        c_dim: Width of the labels c of a conditional generator; 0 for an unconditional one.
        embed_dim: Width of the labels' embedding; None for w_dim.

    Attributes:
        w_avg: Average w [L, w_dim]; see `track_w_avg`.
        noise_shapes: L − 1 sizes (h, w), one a noise input.

    Source: Karras et al. 2020 (arXiv 1912.04958); labels as in Karras et al. 2020
        (arXiv 2006.06676).
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
        connections: str = "skip",
        mapping_lr_mul: float = 0.01,
        mapping_width: int | None = None,
        c_dim: int = 0,
        embed_dim: int | None = None,
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
            "connections": connections,
            "mapping_lr_mul": mapping_lr_mul,
            "mapping_width": mapping_width,
            "c_dim": c_dim,
            "embed_dim": embed_dim,
        }
        self.resolution, self.z_dim, self.w_dim, self.multi_w = resolution, z_dim, w_dim, multi_w
        self.c_dim = c_dim
        self.synthesis = StyleGAN2Synthesis(
            resolution=resolution,
            w_dim=w_dim,
            channels=widths(
                resolution, channels, channel_base=channel_base, channel_max=channel_max
            ),
            conv_clamp=conv_clamp,
            connections=connections,
        )
        self.num_layers = self.synthesis.num_layers
        self.noise_shapes = self.synthesis.noise_shapes
        self.mapping = MappingNetwork(
            z_dim=z_dim,
            w_dim=w_dim,
            num_layers=self.num_layers,
            depth=mapping_depth,
            multi_w=multi_w,
            lr_mul=mapping_lr_mul,
            c_dim=c_dim,
            embed_dim=embed_dim,
            hidden_dim=mapping_width,
        )
        self.register_buffer("w_avg", torch.zeros(self.num_layers, w_dim))

    def track_w_avg(self, w: Tensor, *, decay: float = 0.995) -> None:
        """Moves w_avg towards the mean of w [N, L, w_dim], by 1 − decay."""
        move_average(self.w_avg, w, decay=decay)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        noise: Noise = "const",
        truncation: float = 1.0,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Maps latent codes to images.

        Args:
            z: Latent codes [N, z_dim], drawn from N(0, I).
            c: Labels [N, c_dim] of a conditional generator.
            noise: As in the synthesis.
            truncation: ψ, the share of w − w_avg that is kept.
            rng: Source of random noise.

        Returns:
            Images [N, 3, R, R], in [-1, 1] but for outliers.
        """
        w = truncate(self.mapping(z, c), self.w_avg, truncation)
        return self.synthesis(w, noise, rng=rng)


class StyleGAN2Synthesis(nn.Module):
    """Maps style codes to images.

    Layer 0 is the convolution at 4 px. An odd layer i shows the features through ToRGB with w_i and
    then, the last one excepted, doubles the resolution with the same w_i; an even one convolves at
    unchanged size. So L = 2·log2(R) − 2 layers hold L − 1 convolutions, each with one noise input.
    Without skip connections only the last layer shows its features, and the w are counted alike.

    Args:
        resolution: Side of the image in pixels, R.
        w_dim: Width of w.
        channels: Feature maps at 4, 8, …, R.
        conv_clamp: Bound on the magnitude of every layer's output, or None.
        connections: "skip" sums an image of every resolution; "resnet" adds a 1×1 shortcut around
            both convolutions of a resolution; "orig" has neither.

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
        super().__init__()
        check_connections(connections)
        sides = resolutions(resolution)
        self.w_dim, self.connections, self.conv_clamp = w_dim, connections, conv_clamp
        self.num_layers = 2 * len(sides)
        self.const = nn.Parameter(torch.randn(channels[0], 4, 4))
        self.convs = nn.ModuleList()
        self.to_rgb = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        self.noise_shapes: list[tuple[int, int]] = []
        for i, side in enumerate(sides):
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
        shortcut: Tensor | None = None
        if resume is None:
            x = self.const.expand(w.shape[0], -1, -1, -1)
            # channels_last spares the CPU's convolutions a reordering on the way in and out.
            x = x.contiguous(memory_format=torch.channels_last)
        else:
            x, image, shortcut = resume.features, resume.image, resume.shortcut
        for i in range(first, last):
            final = i == self.num_layers - 1
            if i % 2 == 1 and (final or self.connections == "skip"):
                # Counted from the end, so that a lone ToRGB is found too.
                rgb = self.to_rgb[i // 2 - self.num_layers // 2](x, w[:, i])
                image = rgb if image is None else upsample(image, self.up_kernel) + rgb
            if final:
                break
            if i % 2 == 1 and self.connections == "resnet":
                shortcut = upsample(self.shortcuts[i // 2](x), self.up_kernel)
            stored = self.get_buffer(f"noise_{i}")
            maps = noise_map(noise, i, stored=stored, batch=w.shape[0], rng=rng)
            x = self.convs[i](x, w[:, i], maps)
            if i % 2 == 0 and shortcut is not None:
                x, shortcut = x + shortcut, None
        if stop is not None:
            return SynthesisState(x, image, last, shortcut)
        assert image is not None  # layer L − 1 was run, now or before
        return image


def check_connections(connections: str) -> None:
    """Refuses a word that names no architecture.

    Raises:
        ValueError: It is not one of `CONNECTIONS`.
    """
    if connections not in CONNECTIONS:
        raise ValueError(
            f"connections={connections!r}, expected one of {list(CONNECTIONS)}: set "
            "generator.connections, discriminator.connections"
        )
