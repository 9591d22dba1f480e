"""Predicts noise maps of G from feature maps of E (Sec. 6.3, Fig. 12)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.networks.backbone import SMALLEST

_WEAKEST = 1e-6


class NoiseHead(nn.Module):
    """Predicts the noise inputs of G's blocks 1 to B from E's features of the same side.

    Block b of G has side 4 * 2^(b - 1). Each of its noise inputs (two, or one) is predicted by its
    own 1x1 convolution from E's last feature map of that side, so that E and G are connected like
    the two halves of a U-Net. The noise inputs of later blocks keep G's own maps, which this module
    stores so that its output is complete.

    Args:
        blocks: B, 1 to log2(resolution) - 1.
        std: Scale each map by a constant such that its contribution to G's features initially has
            about this standard deviation, however small the noise weights of the trained G are;
            None for no scaling. See `adopt`.
        shapes: ``(h, w)`` of each noise input of G: L for StyleGAN, L - 1 for StyleGAN2.
        channels_at: Side -> channels of E's feature maps.

    Raises:
        ConfigError: There are more blocks than in G, or E has no features at a side.

    Source:
        Sec. 6.3; Table 6.

    Differs from the paper:
        The paper does not say which layer of E a map comes from if several have the same side (the
        authors' E has one layer at the images' own side, G two). The convolutions are initialised
        so that the maps of normalised features have unit variance, like G's noise. ``std`` is ours:
        a generator trained on clean images learns noise weights near zero, which hide any map.
    """

    gain: Tensor

    def __init__(
        self,
        *,
        blocks: int,
        shapes: Sequence[tuple[int, int]],
        channels_at: Mapping[int, int],
        std: float | None = None,
    ) -> None:
        super().__init__()
        self.std = std
        self.shapes = [(int(h), int(w)) for h, w in shapes]
        sides = sorted({h for h, _ in self.shapes})
        if not 1 <= blocks <= len(sides):
            raise ConfigError(
                f"encoder: got noise_blocks {blocks}, expected 0 to {len(sides)}, the blocks of "
                f"this generator; change encoder.noise_blocks"
            )
        self.sides = sides[:blocks]
        missing = [side for side in self.sides if side not in channels_at]
        if missing:
            most = sum(side < missing[0] for side in sides)
            raise ConfigError(
                f"encoder: got noise_blocks {blocks}, but this backbone has no features of "
                f"{missing[0]}x{missing[0]}; set encoder.noise_blocks to {most} at most, or choose "
                "encoder=noise (the base backbone has features of every side)"
            )
        self.convs = nn.ModuleDict()
        for side in self.sides:
            inputs = sum(h == side for h, _ in self.shapes)
            conv = nn.Conv2d(channels_at[side], inputs, 1)
            nn.init.normal_(conv.weight, std=channels_at[side] ** -0.5)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            self.convs[str(side)] = conv
        for i, (h, w) in enumerate(self.shapes):
            if h not in self.sides:
                self.register_buffer(f"own_{i}", torch.zeros(1, 1, h, w))
        if std is not None:
            self.register_buffer("gain", torch.ones(len(self.shapes)))

    @torch.no_grad()
    def adopt(self, synthesis: nn.Module) -> None:
        """Copies a generator's noise weights, and its maps for inputs that E does not predict.

        Args:
            synthesis: The synthesis of G, with a buffer ``noise_i`` and a noise weight for each
                noise input i; the weights are only used with ``std``.

        Raises:
            ConfigError: The maps have other shapes than this module was built for.
        """
        maps = [value for name, value in synthesis.named_buffers() if name.startswith("noise_")]
        if [tuple(noise.shape[-2:]) for noise in maps] != self.shapes:
            raise ConfigError(
                f"encoder: got noise maps {[tuple(noise.shape[-2:]) for noise in maps]}, expected "
                f"{self.shapes}; encoder and generator do not belong together, change encoder or "
                "generator"
            )
        if self.std is not None:
            factors = [
                factor.square().mean().sqrt()  # over channels, if each has its own
                for name, factor in synthesis.named_parameters()
                if name.endswith(("noise_weight", "noise_strength"))
            ]
            self.gain.copy_(self.std / torch.stack(factors).clamp_min(_WEAKEST))
        for i, noise in enumerate(maps):
            if self.shapes[i][0] not in self.sides:
                self.get_buffer(f"own_{i}").copy_(noise)

    def forward(self, features: Mapping[int, Tensor]) -> list[Tensor]:
        """Maps features by side, ``[N, C, side, side]``, to a map ``[N, 1, h, w]`` per input."""
        given = {
            side: list(self.convs[str(side)](features[side]).split(1, 1)) for side in self.sides
        }
        count = len(features[SMALLEST])
        maps = []
        for i, (side, _) in enumerate(self.shapes):
            if side not in self.sides:
                maps.append(self.get_buffer(f"own_{i}").expand(count, -1, -1, -1))
                continue
            noise = given[side].pop(0)
            maps.append(noise if self.std is None else self.gain[i] * noise)
        return maps
