"""pSp's encoder: one style head a layer on a feature pyramid, or one w from the last features."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from idinvert.errors import ConfigError
from idinvert.networks.encoding import Encoding, adopt_offset
from idinvert.networks.irse import IRSE50
from idinvert.networks.layers import EqualLinear
from idinvert.networks.style_pyramid import (
    Pyramid,
    body,
    check_images,
    check_input,
    features_of,
    fit,
    style_heads,
)


class PspEncoder(nn.Module):
    """E of "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation".

    Images of any size are brought to `input_size` first.

    Args:
        num_layers: L of the generator.
        w_dim: Width of w.
        latent: ``"w_plus"``: a head for each layer (the authors' GradualStyleEncoder); ``"w"``: the
            mean of the last features and one dense layer
            (their BackboneEncoderUsingLastLayerIntoW).
        offset: Add the buffer ``w_offset`` (the generator's mean code) to the codes; the authors
            do.
        input_size: Side to which images are brought, a power of two from 32 up.
        input_height: Rows of the input, where they are fewer.
        channels: Feature maps of the body's first stage.
        units: Units of the body's four stages.
        reduction: Of the body's squeeze and excitation.
        norm: Of the body: ``"batch"``, ``"sync"`` or ``"none"``.

    Raises:
        ConfigError: A value is not one of these.

    Source: Richardson et al. 2021 (arXiv 2008.00951), Sec. 3.
    """

    w_offset: Tensor
    name = "psp"
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
        if latent not in ("w_plus", "w"):
            raise ConfigError(
                f"encoder: got latent {latent!r}, expected 'w_plus' or 'w'; change latent"
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
        if latent == "w_plus":
            self.pyramid = Pyramid(channels)
            self.heads = style_heads(
                num_layers=num_layers, channels=channels, w_dim=w_dim, input_size=input_size
            )
        else:
            self.linear = EqualLinear(8 * channels, w_dim)
        self.register_buffer("w_offset", torch.zeros(num_layers, w_dim))

    @property
    def backbone(self) -> Self:
        """Itself: its body is of no use without its heads, and the tables name both as one."""
        return self

    @property
    def code_space(self) -> str:
        """``"w"`` where every layer gets the same code, else ``"w_plus"``."""
        return self.latent

    def set_offset(self, w_avg: Tensor) -> None:
        """Takes the generator's average code as the offset; see `encoding.adopt_offset`."""
        adopt_offset(self, w_avg)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 3, R, R] in [-1, 1] to codes [N, L, w_dim].

        Raises:
            ConfigError: The images are not square RGB ones.
        """
        check_images(images)
        features = self.body(fit(images, size=self.input_size, height=self.input_height))
        if self.latent == "w_plus":
            features = self.pyramid(features)
            heads = enumerate(self.heads)
            codes = torch.stack([head(features_of(features, i)) for i, head in heads], dim=1)
        else:
            w = self.linear(features.coarse.mean(dim=(2, 3)))  # [N, w_dim]
            codes = w[:, None, :].expand(-1, self.num_layers, -1)  # [N, L, w_dim]
        return codes + self.w_offset if self.offset else codes

    def encode(self, images: Tensor) -> Encoding:
        """Codes of `images` as `forward` gives them; G keeps its own noise."""
        return Encoding(self(images))
