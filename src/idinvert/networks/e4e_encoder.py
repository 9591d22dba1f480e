"""e4e's encoder: one w for all layers, and a small step from it for each."""

from typing import Any

import torch
from torch import Tensor

from idinvert.errors import ConfigError
from idinvert.networks.psp_encoder import PspEncoder
from idinvert.networks.style_pyramid import check_images, features_of, fit


class E4eEncoder(PspEncoder):
    """E of "Designing an Encoder for StyleGAN Image Manipulation": images to codes.

    The first head gives w; each further one gives Δ of its layer, which is added to w. Images of
    any size are brought to `input_size` first.

    The body, the pyramid and the heads are pSp's, and so are the arguments. ``latent`` is
    ``"w_plus"``; e4e has no other. The authors' cars have an ``input_height`` of 192.

    Attributes:
        unlocked: [L, 1], 1 where Δ of a layer is added; see `set_stage`.

    Raises:
        ConfigError: A value is not one of these.

    Source: Tov et al. 2021 (arXiv 2102.02766), Sec. 4; Table 4 of the paper compares with it.
    """

    unlocked: Tensor
    name = "e4e"
    deltas = True

    def __init__(self, *, num_layers: int, latent: str = "w_plus", **settings: Any) -> None:
        if latent != "w_plus":
            raise ConfigError(
                f"encoder: got latent {latent!r}, but e4e predicts W+; set latent=w_plus, or take "
                "encoder=psp, which has a head for W"
            )
        super().__init__(num_layers=num_layers, latent=latent, **settings)
        self.register_buffer("unlocked", torch.ones(num_layers, 1))
        self.set_stage(num_layers - 1)

    def set_stage(self, stage: int) -> None:
        """Adds Δ in the layers 1 … `stage` alone (progressive training); the others take w."""
        layer = torch.arange(self.num_layers, device=self.unlocked.device)
        self.unlocked.copy_(((layer > 0) & (layer <= stage))[:, None])

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 3, R, R] in [-1, 1] to codes [N, L, w_dim].

        Raises:
            ConfigError: The images are not square RGB ones.
        """
        check_images(images)
        x = fit(images, size=self.input_size, height=self.input_height)
        features = self.pyramid(self.body(x))
        w = self.heads[0](features.coarse)  # [N, w_dim]
        heads = enumerate(self.heads)
        steps = [head(features_of(features, i)) for i, head in heads if i > 0]
        deltas = torch.stack([torch.zeros_like(w), *steps], dim=1)  # [N, L, w_dim]
        codes = w[:, None] + self.unlocked * deltas  # w_i = w + Δ_i, Sec. 4.1 there
        return codes + self.w_offset if self.offset else codes
