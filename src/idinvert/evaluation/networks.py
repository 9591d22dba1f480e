"""Networks from configuration nodes: loaded, fresh, and checked to fit together."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from torch import nn

from idinvert.checkpoints.bundle import find_weights, open_network
from idinvert.checkpoints.release import fingerprint
from idinvert.config.instantiate import build
from idinvert.errors import ConfigError


@dataclass
class Contents:
    """Content hashes of the files a run stands on, by top-level configuration key."""

    hashes: dict[str, str] = field(default_factory=dict)

    def note(self, key: str, path: Any) -> None:
        """Remembers the hash of the file that ``key`` led to."""
        self.hashes[key] = fingerprint(path)


def loaded_generator(node: dict[str, Any] | None, contents: Contents) -> Any:
    """The frozen generator of a node with a ``path``.

    Raises:
        ConfigError: The node describes an untrained one.
    """
    path = (node or {}).get("path")
    if path is None:
        raise ConfigError(
            "this needs a trained generator, and the one chosen is fresh (generator=stylegan2 "
            "and generator=stylegan are for experiment=gan). Use generator=shipped, or "
            "generator=checkpoint generator.path=FILE."
        )
    contents.note("generator", find_weights(path, role="generator", key="generator.path"))
    return open_network(path, role="generator", key="generator.path")


def fresh_encoder(
    node: dict[str, Any],
    latent: dict[str, Any],
    *,
    generator: Any,
    contents: Contents | None = None,
) -> nn.Module:
    """E for a generator: its layers, its widths, and what E takes over from it.

    That is its mean code (Eq. 6), its M (``latent=z``), and its noise (``encoder=noise``).

    Raises:
        ConfigError: ``latent=w`` for a multi-w generator, or an unknown ``latent.offset``.
    """
    space = latent["space"]
    if space == "w" and generator.multi_w:
        raise ConfigError(
            "latent=w does not fit this generator: its mapping gives one w a layer, so its native "
            "space is W+. Use latent=w_plus."
        )
    offset = uses_offset(latent["offset"], generator) and (
        space != "z" or latent["offset"] != "auto"
    )
    encoder = build(
        node,
        key="encoder",
        num_layers=generator.num_layers,
        w_dim=generator.w_dim,
        latent=space,
        offset=offset,
        deltas=latent.get("deltas", False),
        mapping=generator.mapping.architecture if space == "z" else None,
        noise_shapes=generator.noise_shapes,
    )
    if contents is not None and node.get("path") is not None:  # it starts from weights
        contents.note("encoder", Path(node["path"]).expanduser())
    if offset:
        encoder.set_offset(generator.w_avg)
    if space == "z":
        encoder.set_mapping(generator.mapping)
    if encoder.noise_head is not None:
        encoder.noise_head.adopt(generator.synthesis)
    return encoder


def uses_offset(offset: str, generator: Any) -> bool:
    """Whether w̄ is added to what E gives; by default for StyleGAN2 and not for StyleGAN.

    Raises:
        ConfigError: A value that is not auto, w_avg or none.
    """
    if offset == "auto":
        return type(generator).__name__ == "StyleGAN2Generator"
    if offset not in ("w_avg", "none"):
        raise ConfigError(f"latent.offset={offset} is unknown; it takes auto, w_avg or none.")
    return offset == "w_avg"


def perceptual_network(node: dict[str, Any] | None, contents: Contents) -> nn.Module | None:
    """F, or ``None`` without a perceptual term."""
    if not node or node["network"] is None:
        return None
    network = build(node["network"], key="perceptual.network")
    contents.hashes["perceptual"] = _state_hash(network)
    return network


def extractors(nodes: dict[str, dict[str, Any]]) -> dict[str, nn.Module]:
    """The feature extractors of ``metric.extractors``, by name."""
    return {name: build(node, key=f"metric.extractors.{name}") for name, node in nodes.items()}


def attribute_network(node: dict[str, Any] | None, contents: Contents) -> Any:
    """The trained attribute network, or ``None``."""
    if node is None:
        return None
    network = build(node, key="attributes")
    contents.hashes["attributes"] = _state_hash(network)
    return network


def require_resolution(*, data: int, generator: int) -> None:
    """Images and generator must be of one size.

    Raises:
        ConfigError: They are not; names both keys.
    """
    if data != generator:
        raise ConfigError(
            f"data.resolution={data} does not fit the generator, which makes images of {generator} "
            f"px. Set data.resolution={generator}, or give another generator.path."
        )


def _state_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def room_name(target: str) -> str:
    """The class's own ``name``, else its file's: ``…training.domain_guided.X`` is domain_guided."""
    name = getattr(get_object(target), "name", None)
    return name if isinstance(name, str) else target.rsplit(".", 2)[-2]


def perceptual_name(node: dict[str, Any] | None) -> str:
    """What F is made by, ``none`` without F."""
    if not node or node["network"] is None:
        return "none"
    name = node["network"]["_target_"].rsplit(".", 1)[-1]
    return "attributes" if name == "open_features" else name


def network_choices(network: Any) -> dict[str, Any]:
    """A network's name (its own, else its file's) and the numbers of its architecture."""
    name = getattr(network, "name", type(network).__module__.rsplit(".", 1)[-1])
    return {"name": name} | plain_settings(network.architecture)


def plain_settings(node: dict[str, Any]) -> dict[str, Any]:
    """The numbers, words and lists of a node, without its underscored keys."""
    return {
        key: value
        for key, value in node.items()
        if not key.startswith("_") and isinstance(value, str | int | float | bool | list)
    }
