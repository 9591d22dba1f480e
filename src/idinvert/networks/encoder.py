"""The encoder E: a backbone, one dense layer, and codes."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.errors import CheckpointError, ConfigError
from idinvert.networks.batch_norm import batch_norm

LATENTS = ("w_plus", "w")
HEADS = ("v1", "v2")
# Class name -> module: what a saved encoder may name as its backbone.
BACKBONES = {"BaseBackbone": "idinvert.networks.encoder_base"}


class Encoder(nn.Module):
    """E: images to codes.

    The backbone's 4x4 map is flattened, one dense layer predicts all codes, and batch
    normalisation gives them zero mean and unit variance before gamma and beta.

    Args:
        backbone: Module from images to ``[N, out_channels, out_size, out_size]`` with the
            attributes ``resolution``, ``out_channels``, ``out_size`` and ``architecture``; or its
            architecture, ``{"class": name, **its arguments}``.
        num_layers: L of the generator.
        w_dim: Length of one layer's code.
        latent: ``"w_plus"``, a code for each layer, or ``"w"``, one code for all layers.
        offset: Add the buffer ``w_offset`` to the codes (Eq. 6); see `set_offset`.
        norm: Of the dense layer's output: ``"batch"``, ``"sync"`` or ``"none"``.
        head: ``"v2"`` (dense with bias, gamma and beta) or ``"v1"`` (no bias, beta only); None for
            the backbone's own variant, ``"v2"`` where it has none.

    Raises:
        ConfigError: A value is not one of these.

    Source:
        E of Eq. (2), (4) and (6); Sec. 3.1, 5.1, 5.2.
    """

    w_offset: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module | dict[str, Any],
        num_layers: int,
        w_dim: int,
        latent: str = "w_plus",
        offset: bool = False,
        norm: str = "batch",
        head: str | None = None,
    ) -> None:
        super().__init__()
        if latent not in LATENTS:
            raise ConfigError(
                f"encoder: got latent {latent!r}, expected one of {list(LATENTS)}; change latent"
            )
        self.backbone = backbone if isinstance(backbone, nn.Module) else build_backbone(backbone)
        head = head or getattr(self.backbone, "variant", "v2")
        if head not in HEADS:
            raise ConfigError(
                f"encoder: got head {head!r}, expected one of {list(HEADS)}; change encoder.head"
            )
        self.architecture = {
            "backbone": {
                "class": type(self.backbone).__name__,
                **self.backbone.architecture,  # type: ignore[dict-item]
            },
            "num_layers": num_layers,
            "w_dim": w_dim,
            "latent": latent,
            "offset": offset,
            "norm": norm,
            "head": head,
        }
        self.num_layers, self.w_dim, self.latent, self.offset = num_layers, w_dim, latent, offset
        self.resolution: int = self.backbone.resolution  # type: ignore[assignment]
        fan_in: int = self.backbone.out_channels * self.backbone.out_size**2  # type: ignore[operator, assignment]
        fan_out = w_dim * (num_layers if latent == "w_plus" else 1)
        self.dense = nn.Linear(fan_in, fan_out, bias=head == "v2" or norm == "none")
        nn.init.normal_(self.dense.weight, std=0.02 if norm != "none" else fan_in**-0.5)
        if self.dense.bias is not None:
            nn.init.zeros_(self.dense.bias)
        self.norm = batch_norm(channels=fan_out, norm=norm, scale=head == "v2")
        self.register_buffer("w_offset", torch.zeros(num_layers, w_dim))

    @torch.no_grad()
    def set_offset(self, w_avg: Tensor) -> None:
        """Take the generator's average code as the offset.

        Args:
            w_avg: ``[L, w_dim]``, or ``[w_dim]`` for all layers.

        Raises:
            ConfigError: The encoder adds no offset, or the shape does not fit.
        """
        if not self.offset:
            raise ConfigError(
                "encoder: got an average code, but this encoder adds no offset; "
                "set latent.offset=w_avg"
            )
        shape = (self.num_layers, self.w_dim)
        if tuple(w_avg.shape) not in (shape, shape[1:]):
            raise ConfigError(
                f"encoder: got an average code {tuple(w_avg.shape)}, expected {shape}; encoder and "
                "generator do not belong together, change encoder or generator"
            )
        self.w_offset.copy_(w_avg.expand(shape))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, 3, R, R]`` in [-1, 1] to codes ``[N, L, w_dim]``.

        Raises:
            ConfigError: The images are not R x R.
        """
        if images.shape[-2:] != (self.resolution, self.resolution):
            raise ConfigError(
                f"encoder: got images {tuple(images.shape[-2:])}, expected "
                f"{self.resolution}x{self.resolution}; change data.resolution or the encoder"
            )
        codes = self.norm(self.dense(self.backbone(images).flatten(1)))
        codes = codes.unflatten(1, (-1, self.w_dim))  # [N, L or 1, w_dim]
        codes = codes.expand(-1, self.num_layers, -1)  # [N, L, w_dim]
        if self.offset:
            codes = codes + self.w_offset  # Eq. (6): E(x) + mean w
        return codes


def build_backbone(architecture: dict[str, Any]) -> nn.Module:
    """The backbone that ``{"class": name, **arguments}`` describes.

    Raises:
        CheckpointError: The class is not one of `BACKBONES`.
    """
    arguments = dict(architecture)
    name = arguments.pop("class", None)
    if name not in BACKBONES:
        raise CheckpointError(
            f"encoder: got backbone class {name!r}, expected one of {sorted(BACKBONES)}; "
            "change encoder.backbone"
        )
    return getattr(importlib.import_module(BACKBONES[name]), name)(**arguments)
