"""StyleGAN2's generator, with one w for all layers or one w a layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from idinvert.networks.generator import Noise, move_average, truncate, widths
from idinvert.networks.mapping import MappingNetwork
from idinvert.networks.stylegan2_synthesis import StyleGAN2Synthesis


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
