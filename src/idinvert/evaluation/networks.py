"""Networks, methods and images from configuration nodes, checked for compatibility."""

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from torch import nn

from idinvert.checkpoints.bundle import find_weights, generator_hash, open_generator
from idinvert.checkpoints.release import fingerprint, load_network, read_header
from idinvert.config.argv import from_shell
from idinvert.config.compose import compose_plain
from idinvert.config.identity import digest_of
from idinvert.config.instantiate import build
from idinvert.data.domain import Domain
from idinvert.errors import CheckpointError, ConfigError

NEED_NONE = "inversion=projector and inversion=free need no encoder."
_OPENED: ContextVar[dict[str, Domain] | None] = ContextVar("opened", default=None)

Hashes = dict[str, str]
"""Content hashes of opened networks, by top-level configuration key."""


def loaded_generator(node: dict[str, Any] | None, hashes: Hashes) -> Any:
    """Opens the frozen generator of a node with a ``path``; adds its hash.

    Raises:
        ConfigError: The node describes an untrained one, or there is no such class.
    """
    if not node or node.get("path") is None:
        raise ConfigError(
            "this needs a trained generator, and the one chosen is fresh (generator=stylegan2 "
            "and generator=stylegan are for experiment=gan). Use generator=shipped, or "
            "generator=checkpoint generator.path=FILE."
        )
    hashes["generator"] = generator_hash(node)
    return open_generator(node)


def fresh_encoder(
    node: dict[str, Any],
    latent: dict[str, Any],
    *,
    generator: Any,
    hashes: Hashes | None = None,
) -> nn.Module:
    """Builds E for a generator, with its number of layers and code width.

    E takes over the generator's mean code (Eq. 6), M (``latent=z``) and noise (``encoder=noise``).

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
    if hashes is not None and node.get("path") is not None:  # E starts from these weights
        hashes["encoder"] = fingerprint(Path(node["path"]).expanduser())
    if offset:
        encoder.set_offset(generator.w_avg)
    if space == "z":
        encoder.set_mapping(generator.mapping)
    if encoder.noise_head is not None:
        encoder.noise_head.adopt(generator.synthesis)
    return encoder


def untrained_encoder(
    overrides: str, *, generator: Any, offset: str, seed: int
) -> tuple[Any, dict]:
    """Builds an untrained encoder as ``train.py`` does, with initial weights drawn from a seed.

    Args:
        overrides: Overrides of ``train.py`` that choose the encoder.
        generator: G.
        offset: ``none`` or ``w_avg`` (Eq. 6).
        seed: Seed of the weights.

    Returns:
        E, frozen; its settings, for records.
    """
    node = compose_plain("train", from_shell(overrides, key="task.encoder"))["encoder"]
    if "backbone" in node:
        backbone = {**node["backbone"], "resolution": generator.resolution}
        node = {**node, "backbone": backbone}
    latent = {"space": "w_plus", "offset": offset}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: Any = fresh_encoder(node, latent, generator=generator)
    encoder.eval().requires_grad_(False)
    return encoder, {"encoder": network_choices(encoder.backbone), "latent": latent}


def uses_offset(offset: str, generator: Any) -> bool:
    """Returns whether w̄ is added to E's output; by default for StyleGAN2 and not for StyleGAN.

    Raises:
        ConfigError: A value that is not auto, w_avg or none.
    """
    if offset == "auto":
        return type(generator).__name__ == "StyleGAN2Generator"
    if offset not in ("w_avg", "none"):
        raise ConfigError(f"latent.offset={offset} is unknown; it takes auto, w_avg or none.")
    return offset == "w_avg"


def perceptual_network(node: dict[str, Any] | None, hashes: Hashes) -> nn.Module | None:
    """Returns F, or ``None`` without a perceptual term."""
    if not node or node["network"] is None:
        return None
    network = build(node["network"], key="perceptual.network")
    hashes["perceptual"] = state_hash(network)
    return network


def extractors(
    config: dict[str, Any], perceptual: nn.Module | None, attributes: Any
) -> dict[str, nn.Module]:
    """Returns feature extractors by name: ``metric.extractors``, the attribute network, and F."""
    nodes = config["metric"].get("extractors", {})  # older runs have none
    found = {name: build(node, key=f"metric.extractors.{name}") for name, node in nodes.items()}
    found["attributes"] = attributes
    found.setdefault(perceptual_name(config["perceptual"]), perceptual)
    return {name: network for name, network in found.items() if network}


def reader(node: dict[str, Any] | None, hashes: Hashes, *, key: str) -> Any:
    """Returns the trained network of ``attributes`` or ``segmenter``, or ``None``."""
    if node is None:
        return None
    network = build(node, key=key)
    hashes[key] = state_hash(network)
    return network


def build_method(
    node: dict[str, Any],
    config: dict[str, Any],
    *,
    key: str = "inversion",
    encoder: nn.Module | None,
    perceptual: nn.Module | None,
    **more: Any,
) -> Any:
    """Builds a method from its node and the networks that its signature names.

    Args:
        node: With a ``_target_``; ``lambda_vgg: null`` becomes the method's own weight for F if it
            has one, else the default weight of F.
        config: The whole configuration.
        key: Key of the node in it.
        encoder: E, for a parameter ``encoder``; its own space for a parameter ``latent``.
        perceptual: F, for a parameter ``perceptual``.
        more: Further arguments.
    """
    node = dict(node)
    if node.get("lambda_vgg", 0.0) is None:
        of_f = config["perceptual"]["lambda_vgg"] if perceptual else 0.0
        own = getattr(get_object(node["_target_"]), "lambda_on", {}) if perceptual else {}
        node["lambda_vgg"] = own.get(perceptual_name(config["perceptual"]), of_f)
    latent = getattr(encoder, "code_space", "w_plus")
    known = {"encoder": encoder, "perceptual": perceptual, "latent": latent}
    method = build(node, key=key, **{k: v for k, v in known.items() if takes(node, k)}, **more)
    if config["system"].get("cuda_graphs") and hasattr(method, "cuda_graphs"):
        method.cuda_graphs = True
    return method


def takes(node: dict[str, Any], name: str) -> bool:
    """Returns whether a node's target has a parameter ``name`` that the node does not set."""
    return name not in node and name in inspect.signature(get_object(node["_target_"])).parameters


def load_encoder(node: dict[str, Any], hashes: Hashes) -> tuple[nn.Module, dict[str, Any]]:
    """Opens the encoder of a node with a ``path``; also returns the provenance of its file."""
    path = find_weights(node.get("path") or "", role="encoder", key="encoder.path")
    classes = node.get("classes") or ()
    encoder = load_network(path, expect="encoder", key="encoder.path", classes=classes)
    hashes["encoder"] = fingerprint(path)
    return encoder, read_header(path, key="encoder.path").provenance


def fitting_encoder(
    config: dict[str, Any], generator: Any, hashes: Hashes
) -> tuple[nn.Module | None, dict[str, Any]]:
    """Opens the method's encoder, which must match the generator; and the provenance of its file.

    For a method without E, returns ``None`` and the provenance of the generator's file, which is
    empty for files from other programs.

    Raises:
        ConfigError: E belongs to another generator, or the method needs one and there is none.
    """
    if not takes(config["inversion"], "encoder"):
        path, key = config["generator"]["path"], "generator.path"
        try:
            file = find_weights(path, role="generator", key=key)
            return None, read_header(file, key=key).provenance
        except CheckpointError:
            return None, {}
    if not config["encoder"] or config["encoder"].get("path") is None:
        raise ConfigError(
            f"inversion={room_name(config['inversion']['_target_'])} takes an encoder: give the "
            "run=RUN of an encoder, or encoder.path=FILE, or choose a method without one "
            "(inversion=image2stylegan, projector or free)."
        )
    encoder, provenance = load_encoder(config["encoder"], hashes)
    architecture: Any = encoder.architecture
    theirs = (architecture["num_layers"], architecture["w_dim"])
    ours = (generator.num_layers, generator.w_dim)
    if theirs != ours:
        raise ConfigError(
            f"the encoder gives {theirs[0]} codes of {theirs[1]} numbers and the generator takes "
            f"{ours[0]} of {ours[1]}. Give the generator it was trained for (generator.path), or "
            f"another encoder (encoder.path, run). {NEED_NONE}"
        )
    here = hashes["generator"]
    trained_for = provenance.get("stands_on", {}).get("generator", here)
    # An encoder trained for all classes of a conditional generator fits each class.
    if trained_for not in (here, generator_hash(config["generator"] | {"label": None})):
        raise ConfigError(
            f"the encoder was trained for generator {trained_for} and this is {here}: codes do not "
            "carry over between generators of the same shape. Give its generator "
            f"(generator.path), or another encoder (encoder.path, run). {NEED_NONE}"
        )
    return encoder, provenance


@contextmanager
def data_opened_once() -> Iterator[None]:
    """Within this context, `open_data` opens the same images only once."""
    token = _OPENED.set({})
    try:
        yield
    finally:
        _OPENED.reset(token)


def open_data(node: dict[str, Any], *, masks: bool = False) -> Domain:
    """Opens the images of a ``data`` node; with `masks`, items have a `mask` if the data has masks.

    Raises:
        IdinvertError: They cannot be opened.
    """
    if masks and takes(node, "masks"):
        node = {**node, "masks": True}
    known = _OPENED.get()
    if known is None:
        return build(node, key="data")
    key = digest_of(node)
    if key not in known:
        known[key] = build(node, key="data")
    return known[key]


def require_resolution(*, data: int, generator: int) -> None:
    """Requires images and generator to have the same resolution.

    Raises:
        ConfigError: They differ; names both keys.
    """
    if data != generator:
        raise ConfigError(
            f"data.resolution={data} does not fit the generator, which makes images of {generator} "
            f"px. Set data.resolution={generator}, or give another generator.path."
        )


def require_reads(network: Any, resolution: int, *, key: str) -> None:
    """Refuses a network that takes images of another size; most networks take any size.

    Args:
        network: An open network, or None.
        resolution: Pixels per side.
        key: Key of its file.

    Raises:
        ConfigError: Names both sizes.
    """
    takes = getattr(getattr(network, "network", network), "resolution", resolution)
    if takes != resolution:
        raise ConfigError(
            f"the network of {key} takes images of {takes} px, and these have {resolution} px: "
            f"give one for this size by {key}=FILE, or do without it"
        )


def with_fitting_f(method: Any, generator: Any) -> Any:
    """Returns the method; refuses a G or an F in use that does not match it."""
    getattr(method, "check", lambda _: None)(generator)
    weighed = method.perceptual if getattr(method, "lambda_vgg", 0) else None
    require_reads(weighed, generator.resolution, key="perceptual.network.path")
    return method


def of_size(extractors: Mapping[str, nn.Module], names: Sequence[str], generator: Any) -> Any:
    """Returns the extractors; those of ``fd_`` and ``kd_`` metrics must take G's resolution."""
    for name in {name[3:] for name in names if name[:3] in ("fd_", "kd_")} & extractors.keys():
        key = "attributes.path" if name == "attributes" else f"metric.extractors.{name}.path"
        require_reads(extractors[name], generator.resolution, key=key)
    return extractors


def require_labels_read(network: Any, labels: Sequence[str]) -> None:
    """Refuse an attribute network that does not read all labels of the data.

    Means over fewer attributes would not be comparable with those of other networks.

    Raises:
        ConfigError: names the missing labels; or the data has none.
    """
    if not labels:
        raise ConfigError("the data has no labels: choose labelled data, such as data=faces_mini")
    read = list(network.names)
    missing = [name for name in labels if name not in read]
    if missing:
        raise ConfigError(
            f"the attribute network does not read {', '.join(missing)} of the data's labels; it "
            f"reads {', '.join(read)}: give one trained on this data (attributes.path)"
        )


def state_hash(network: nn.Module) -> str:
    """Returns a hash of a network's weights, 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def room_name(target: str) -> str:
    """Returns a class's ``name``, else that of its module: domain_guided of ``domain_guided.X``."""
    name = getattr(get_object(target), "name", None)
    return name if isinstance(name, str) else target.rsplit(".", 2)[-2]


def perceptual_name(node: dict[str, Any] | None) -> str:
    """Returns the name of F's constructor; ``none`` without F."""
    if not node or node["network"] is None:
        return "none"
    name = node["network"]["_target_"].rsplit(".", 1)[-1]
    return "attributes" if name == "open_features" else name


def network_choices(network: Any) -> dict[str, Any]:
    """Returns a network's name (its own, else its module's) and the values of its architecture."""
    name = getattr(network, "name", type(network).__module__.rsplit(".", 1)[-1])
    return {"name": name} | plain_settings(network.architecture)


def plain_settings(node: dict[str, Any]) -> dict[str, Any]:
    """Returns the numbers, strings and lists of a node, without keys that begin with ``_``."""
    return {
        key: value
        for key, value in node.items()
        if not key.startswith("_") and isinstance(value, str | int | float | bool | list)
    }
