"""The encoder E: a backbone and one dense layer that predict codes; decoding of codes with G."""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from idinvert.annotations import Count, Norm, PositiveFloat
from idinvert.errors import CheckpointError, ConfigError
from idinvert.networks.backbone import batch_norm
from idinvert.networks.layers import constructor_arguments
from idinvert.networks.mapping import MappingNetwork
from idinvert.networks.noise_head import NoiseHead

LATENTS = ("w_plus", "w", "z")
HEADS = ("v1", "v2")
# Class name -> module: the backbones that a saved encoder may name.
BACKBONES = {
    "BaseBackbone": "idinvert.networks.encoder_base",
    "ResNetBackbone": "idinvert.networks.encoder_resnet",
    "MobileNetBackbone": "idinvert.networks.encoder_mobilenet",
}
ASKED_OF_BACKBONES = ("resolution", "out_channels", "out_size", "architecture")


class Encoding(NamedTuple):
    """An encoded image: all that the generator needs to reconstruct it.

    Args:
        codes: ``[N, L, w_dim]``.
        noise: One map ``[N, 1, h, w]`` per noise input of G, in order; None for G's own.
        z: Input of M for the codes, ``[N, z_dim]`` (``latent=z``); None if E predicts the codes.
    """

    codes: Tensor
    noise: list[Tensor] | None = None
    z: Tensor | None = None


def decode(generator: Any, encoding: Encoding) -> Tensor:
    """Returns G(E(x)), with the noise maps of the encoding, or G's own if it has none.

    Args:
        generator: G (`networks.generator.Generator`).
        encoding: Result of ``encoder.encode(images)``.

    Returns:
        Images ``[N, 3, R, R]``, in [-1, 1] except for outliers.
    """
    noise = "const" if encoding.noise is None else encoding.noise
    return generator.synthesis(encoding.codes, noise=noise)


@torch.no_grad()
def adopt_offset(encoder: Any, w_avg: Tensor) -> None:
    """Copies a generator's average code into an encoder's buffer ``w_offset`` (Eq. 6).

    Args:
        encoder: An encoder with ``offset`` and ``w_offset``, ``[L, w_dim]``.
        w_avg: ``[L, w_dim]``, or ``[w_dim]`` for all layers.

    Raises:
        ConfigError: The encoder adds no offset, or the shapes do not match.
    """
    if not encoder.offset:
        raise ConfigError(
            "encoder: got an average code, but this encoder adds no offset; set latent.offset=w_avg"
        )
    shape = tuple(encoder.w_offset.shape)
    if tuple(w_avg.shape) not in (shape, shape[1:]):
        raise ConfigError(
            f"encoder: got an average code {tuple(w_avg.shape)}, expected {shape}; encoder and "
            "generator do not belong together, change encoder or generator"
        )
    encoder.w_offset.copy_(w_avg.expand(shape))


class Encoder(nn.Module):
    """E: maps images to codes, and to noise maps if it has a noise head.

    The backbone's 4x4 map is flattened, one dense layer predicts all codes, and batch
    normalisation gives them zero mean and unit variance before gamma and beta are applied.

    Args:
        backbone: Module that maps images to ``[N, out_channels, out_size, out_size]``, with the
            attributes ``resolution``, ``out_channels``, ``out_size`` and ``architecture`` (and
            ``channels_at`` and ``features`` for a noise head); or its architecture,
            ``{"class": name, **arguments}``.
        num_layers: L of the generator.
        w_dim: Length of one layer's code.
        latent: ``"w_plus"``: a code for each layer; ``"w"``: one code for all layers; ``"z"``: a z
            that is mapped by the generator's M.
        offset: Add the buffer ``w_offset`` to the codes (Eq. 6); see `set_offset`.
        norm: Normalisation of the dense layer's output: ``"batch"``, ``"sync"`` or ``"none"``; None
            for the same as the backbone, or ``"batch"`` if it specifies none.
        head: ``"v2"`` (dense with bias, gamma and beta) or ``"v1"`` (no bias, beta only); None for
            the same as the backbone, or ``"v2"`` if it specifies none.
        deltas: Predict layer i's code as layer 0's plus an offset, which `set_stage` can hold at
            zero (e4e's progressive training); the offsets start at zero.
        mapping: Arguments of the generator's M; only for ``latent="z"``. See `set_mapping`.
        noise_blocks: Number of blocks of G whose noise E predicts (Sec. 6.3); 0 for none.
        noise_shapes: ``(h, w)`` of each noise input of G; only used with ``noise_blocks``.
        noise_std: ``std`` of the `NoiseHead`.

    Raises:
        ConfigError: A value is invalid, or two values contradict each other.

    Source:
        E of Eq. (2), (4) and (6); Sec. 3.1, 5.1, 5.2, 6.3. Deltas: Tov et al. 2021
        (arXiv 2102.02766).
    """

    w_offset: Tensor
    unlocked: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module | dict[str, Any],
        num_layers: int,
        w_dim: int,
        latent: str = "w_plus",
        offset: bool = False,
        norm: Norm | None = None,
        head: str | None = None,
        deltas: bool = False,
        mapping: dict[str, Any] | None = None,
        noise_blocks: Count = 0,
        noise_shapes: Sequence[Sequence[int]] | None = None,
        noise_std: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone if isinstance(backbone, nn.Module) else build_backbone(backbone)
        _check_backbone(self.backbone)
        head = head or str(getattr(self.backbone, "variant", "v2"))
        if norm is None:
            norm = str(self.backbone.architecture.get("norm", "batch"))  # type: ignore[union-attr, operator]
        shapes = [list(shape) for shape in noise_shapes or ()] if noise_blocks else None
        self.architecture = constructor_arguments(locals(), Encoder) | {
            "backbone": {
                "class": _name_of(self.backbone),
                **self.backbone.architecture,  # type: ignore[dict-item]
            },
            "noise_shapes": shapes,
        }
        _check(self.architecture)
        self.num_layers, self.w_dim, self.latent, self.offset = num_layers, w_dim, latent, offset
        self.resolution: int = self.backbone.resolution  # type: ignore[assignment]
        fan_in: int = self.backbone.out_channels * self.backbone.out_size**2  # type: ignore[operator, assignment]
        fan_out = mapping["z_dim"] if mapping else w_dim * (num_layers if latent == "w_plus" else 1)
        self.dense = nn.Linear(fan_in, fan_out, bias=head == "v2" or norm == "none")
        nn.init.normal_(self.dense.weight, std=0.02 if norm != "none" else fan_in**-0.5)
        if self.dense.bias is not None:
            nn.init.zeros_(self.dense.bias)
        self.norm = batch_norm(channels=fan_out, norm=norm, scale=head == "v2")
        self.register_buffer("w_offset", torch.zeros(num_layers, w_dim))
        self.mapping = MappingNetwork(**mapping).requires_grad_(False) if mapping else None
        self.deltas = deltas
        if deltas:
            nn.init.zeros_((self.dense if norm == "none" else self.norm).weight[w_dim:])  # type: ignore[index, union-attr, arg-type]
            self.register_buffer("unlocked", torch.ones(num_layers, 1))
            self.set_stage(num_layers - 1)
        self.noise_head = None
        if noise_blocks:
            self.noise_head = NoiseHead(
                blocks=noise_blocks,
                shapes=[(shape[0], shape[1]) for shape in noise_shapes or ()],
                channels_at=self.backbone.channels_at,  # type: ignore[arg-type]
                std=noise_std,
            )

    @property
    def code_space(self) -> str:
        """E's native space: ``"w"`` (the same code in every layer), ``"w_plus"`` or ``"z"``."""
        return self.latent

    def set_offset(self, w_avg: Tensor) -> None:
        """Sets the offset to the generator's average code; see `adopt_offset`."""
        adopt_offset(self, w_avg)

    def set_mapping(self, mapping: nn.Module) -> None:
        """Copies the generator's M, which maps z with ``latent="z"``; the copy stays frozen.

        Raises:
            ConfigError: The encoder does not predict z, or the architecture of M differs.
        """
        if self.mapping is None or mapping.architecture != self.mapping.architecture:
            raise ConfigError(
                f"encoder: got the mapping network {mapping.architecture}, expected "
                f"{self.architecture['mapping']}; encoder and generator do not belong together, "
                "change encoder, generator or latent"
            )
        self.mapping.load_state_dict(mapping.state_dict())

    def set_stage(self, stage: int) -> None:
        """Lets layers 1 to ``stage`` differ from layer 0; offsets of later layers are zero.

        Raises:
            ConfigError: The encoder has no deltas.
        """
        if not self.deltas:
            raise ConfigError("encoder: this one has no deltas to hold back; set latent=deltas")
        layer = torch.arange(self.num_layers, device=self.unlocked.device)
        self.unlocked.copy_(((layer > 0) & (layer <= stage))[:, None])

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, R, R]`` in [-1, 1] to codes ``[N, L, w_dim]``.

        Raises:
            ConfigError: The images are not R x R.
        """
        self._check_images(images)
        return self._codes(self._numbers(self.backbone(images)))

    def encode(self, images: Tensor) -> Encoding:
        """Returns the codes of `forward`, with all noise maps of G if there is a noise head.

        Raises:
            ConfigError: The images are not R x R.
        """
        self._check_images(images)
        noise = None
        if self.noise_head is None:
            x = self.backbone(images)
        else:
            features = self.backbone.features(images)  # type: ignore[operator]
            x, noise = features[self.backbone.out_size], self.noise_head(features)
        numbers = self._numbers(x)
        z = None if self.mapping is None else numbers
        return Encoding(self._codes(numbers), noise, z)

    def z(self, images: Tensor) -> Tensor:
        """Maps images to z ``[N, z_dim]``, which `forward` maps to codes with M.

        Raises:
            ConfigError: The encoder does not predict z, or the images are not R x R.
        """
        if self.mapping is None:
            raise ConfigError(
                f"encoder: this one has latent {self.latent!r} and gives no z; train one with "
                "latent=z"
            )
        self._check_images(images)
        return self._numbers(self.backbone(images))

    def _numbers(self, x: Tensor) -> Tensor:
        """Maps the backbone's last feature map ``[N, C, 4, 4]`` to the normalised dense output."""
        return self.norm(self.dense(x.flatten(1)))

    def _codes(self, numbers: Tensor) -> Tensor:
        """Maps the normalised dense output to codes ``[N, L, w_dim]``."""
        if self.mapping is not None:
            return self.mapping(numbers)  # [N, L, w_dim]
        codes = numbers.unflatten(1, (-1, self.w_dim))  # [N, L or 1, w_dim]
        if self.deltas:
            codes = codes[:, :1] + self.unlocked * codes  # w_i = w_0 + delta_i
        codes = codes.expand(-1, self.num_layers, -1)  # [N, L, w_dim]
        if self.offset:
            codes = codes + self.w_offset  # Eq. (6): E(x) + mean w
        return codes

    def _check_images(self, images: Tensor) -> None:
        if images.shape[-2:] != (self.resolution, self.resolution):
            raise ConfigError(
                f"encoder: got images {tuple(images.shape[-2:])}, expected "
                f"{self.resolution}x{self.resolution}; change data.resolution or the encoder"
            )


def _check(chosen: dict[str, Any]) -> None:
    latent, head, mapping = chosen["latent"], chosen["head"], chosen["mapping"]
    for name, value, known in (("latent", latent, LATENTS), ("head", head, HEADS)):
        if value not in known:
            key = "latent" if name == "latent" else "encoder.head"
            raise ConfigError(
                f"encoder: got {name} {value!r}, expected one of {list(known)}; change {key}"
            )
    if (latent == "z") != (mapping is not None):
        raise ConfigError(
            f"encoder: got latent {latent!r} {'with' if mapping else 'without'} a mapping network; "
            "latent=z needs the generator's, and no other takes one"
        )
    if mapping and (chosen["offset"] or mapping.get("c_dim")):
        raise ConfigError(
            "encoder: got latent 'z' with an offset or a conditional mapping network; M gives "
            "codes around the average by itself (set latent.offset=none) and must need no label"
        )
    if chosen["deltas"] and (latent != "w_plus" or (head == "v1" and chosen["norm"] != "none")):
        raise ConfigError(
            f"encoder: got deltas with latent {latent!r}, head {head!r} and norm "
            f"{chosen['norm']!r}, expected w_plus, and v2 (a gamma that starts at zero) or none; "
            "change latent, encoder.head or encoder.norm"
        )


def _check_backbone(backbone: nn.Module) -> None:
    missing = [name for name in ASKED_OF_BACKBONES if not hasattr(backbone, name)]
    if missing:
        raise ConfigError(
            f"encoder: got the backbone {type(backbone).__name__} without {', '.join(missing)}; "
            f"expected one with {', '.join(ASKED_OF_BACKBONES)} (docs/extending.md); change "
            "encoder.backbone"
        )


def _name_of(backbone: nn.Module) -> str:
    """Returns the class name used in files: short for `BACKBONES`, qualified for a user's own."""
    name, module = type(backbone).__name__, type(backbone).__module__
    return name if BACKBONES.get(name) == module else f"{module}.{name}"


def build_backbone(architecture: dict[str, Any]) -> nn.Module:
    """Builds the backbone described by ``{"class": name, **arguments}``.

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
