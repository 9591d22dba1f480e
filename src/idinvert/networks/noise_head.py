"""Feature maps of E as noise maps of G (Sec. 6.3, Fig. 12)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.networks.backbone import SMALLEST

_WEAKEST = 1e-6


class NoiseHead(nn.Module):
    """Gives the noise inputs of G's blocks 1 to B from E's features of the same side.

    Block b of G works at side 4 * 2^(b - 1). Each of its noise inputs (two, or one where G has
    one) gets its own 1x1 convolution of E's last feature map of that side, so that E and G face
    each other like the two halves of a U-Net. The inputs of later blocks keep G's own maps, which
    this module carries, so that its list is complete.

    Args:
        blocks: B, 1 to log2(resolution) - 1.
        std: Multiply each map by a constant such that what it adds to G's features starts with
            about this standard deviation, however little weight G's training left its noise; None
            multiplies by nothing. See `set_noise`.
        shapes: ``(h, w)`` of each noise input of G: L for StyleGAN, L - 1 for StyleGAN2.
        channels_at: Side -> channels of E's feature maps.

    Raises:
        ConfigError: More blocks than G has, or a side at which E has no features.

    Source:
        Sec. 6.3; Table 6.

    Differs from the paper:
        It does not say which layer of E a map comes from where several have its side (the authors'
        E has one layer at the images' own side, G two). The convolutions start so that the maps of
        normalised features have unit variance, as G's noise has. ``std`` is ours: a generator
        trained on clean pictures learns factors near zero for its noise, and no map would be seen.
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
        """Take over a generator's noise: its maps for the inputs that E does not give, its factors.

        Args:
            synthesis: G's, with a buffer ``noise_i`` and a factor, by which it is multiplied before
                it is added, for each noise input i; factors are read with ``std`` alone.

        Raises:
            ConfigError: The maps' shapes are not those this module was made for.
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
                factor.square().mean().sqrt()  # over channels, where each has its own
                for name, factor in synthesis.named_parameters()
                if name.endswith(("noise_weight", "noise_strength"))
            ]
            self.gain.copy_(self.std / torch.stack(factors).clamp_min(_WEAKEST))
        for i, noise in enumerate(maps):
            if self.shapes[i][0] not in self.sides:
                self.get_buffer(f"own_{i}").copy_(noise)

    def forward(self, features: Mapping[int, Tensor]) -> list[Tensor]:
        """Features by side, each ``[N, C, side, side]``, to one map ``[N, 1, h, w]`` an input."""
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
