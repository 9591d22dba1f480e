"""e4e's encoder: one w for all layers, and a small step from it for each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.networks.encoding import Encoding
from idinvert.networks.irse import IRSE50
from idinvert.networks.style_pyramid import (
    Pyramid,
    body,
    check_images,
    check_input,
    copy_offset,
    features_of,
    fit,
    style_heads,
)


class E4eEncoder(nn.Module):
    """E of "Designing an Encoder for StyleGAN Image Manipulation": images to codes.

    The first head gives w; each further one gives Δ of its layer, which is added to w. Images of
    any size are brought to `input_size` first.

    Args:
        num_layers: L of the generator.
        w_dim: Width of w.
        latent: ``"w_plus"``; e4e has no other.
        offset: Add the buffer ``w_offset`` (the generator's mean code) to the codes; the authors
            do.
        input_size: Side to which images are brought, a power of two from 32 up.
        input_height: Rows of the input, where they are fewer (192 of 256 in the authors' cars).
        channels: Feature maps of the body's first stage.
        units: Units of the body's four stages.
        reduction: Of the body's squeeze and excitation.
        norm: Of the body: ``"batch"``, ``"sync"`` or ``"none"``.

    Attributes:
        unlocked: [L, 1], 1 where Δ of a layer is added; see `set_stage`.

    Raises:
        ConfigError: A value is not one of these.

    Source: Tov et al. 2021 (arXiv 2102.02766), Sec. 4; Table 4 of the paper compares with it.
    """

    w_offset: Tensor
    unlocked: Tensor
    name = "e4e"
    deltas = True
    noise_head = None

    def __init__(
        self,
        *,
        num_layers: int,
        w_dim: int = 512,
        latent: str = "w_plus",
        offset: bool = True,
        input_size: int = 256,
        input_height: int | None = None,
        channels: int = 64,
        units: Sequence[int] = IRSE50,
        reduction: int = 16,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if latent != "w_plus":
            raise ConfigError(
                f"encoder: got latent {latent!r}, but e4e predicts W+; set latent=w_plus, or take "
                "encoder=psp, which has a head for W"
            )
        height = input_size if input_height is None else input_height
        check_input(size=input_size, height=height)
        self.architecture = {
            "num_layers": num_layers,
            "w_dim": w_dim,
            "latent": latent,
            "offset": offset,
            "input_size": input_size,
            "input_height": input_height,
            "channels": channels,
            "units": list(units),
            "reduction": reduction,
            "norm": norm,
        }
        self.num_layers, self.w_dim, self.latent, self.offset = num_layers, w_dim, latent, offset
        self.input_size, self.input_height = input_size, height
        self.body = body(channels=channels, units=tuple(units), reduction=reduction, norm=norm)
        self.pyramid = Pyramid(channels)
        self.heads = style_heads(
            num_layers=num_layers, channels=channels, w_dim=w_dim, input_size=input_size
        )
        self.register_buffer("w_offset", torch.zeros(num_layers, w_dim))
        self.register_buffer("unlocked", torch.ones(num_layers, 1))
        self.set_stage(num_layers - 1)

    @property
    def backbone(self) -> "E4eEncoder":
        """Itself: its body is of no use without its heads, and the tables name both as one."""
        return self

    @property
    def code_space(self) -> str:
        """``"w_plus"``: every layer gets a code of its own."""
        return self.latent

    def set_stage(self, stage: int) -> None:
        """Adds Δ in the layers 1 … `stage` alone (progressive training); the others take w."""
        layer = torch.arange(self.num_layers, device=self.unlocked.device)
        self.unlocked.copy_(((layer > 0) & (layer <= stage))[:, None])

    def set_offset(self, w_avg: Tensor) -> None:
        """Takes the generator's average code [L, w_dim] or [w_dim] as the offset.

        Raises:
            ConfigError: The encoder adds no offset, or the shape does not fit.
        """
        if not self.offset:
            raise ConfigError(
                "encoder: got an average code, but this encoder adds no offset; "
                "set latent.offset=w_avg"
            )
        copy_offset(self.w_offset, w_avg)

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

    def encode(self, images: Tensor) -> Encoding:
        """Codes of `images` as `forward` gives them; G keeps its own noise."""
        return Encoding(self(images))
