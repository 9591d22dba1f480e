"""Builds the parts of a training run from a configuration, so that errors occur early."""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from hydra.utils import get_object
from torch import nn

from idinvert.checkpoints.bundle import find_weights, open_network, sibling
from idinvert.checkpoints.release import fingerprint, load_network
from idinvert.cli.devices import accumulate_of, check_batch, check_validation, ranks_of
from idinvert.config.identity import run_identity, scientific_config
from idinvert.config.instantiate import build
from idinvert.data.domain import Domain
from idinvert.errors import CheckpointError, ConfigError
from idinvert.evaluation import networks
from idinvert.evaluation import networks as wire
from idinvert.networks.batch_norm import batch_norms
from idinvert.networks.one_class import discriminator_of_class

NETWORKS = ("generator", "discriminator", "encoder", "perceptual", "segmenter")


@dataclass
class Parts:
    """The parts of a training run, before its folder exists.

    Args:
        config: The resolved configuration as plain values.
        module: The LightningModule.
        domain: The images.
        contents: Content hashes of its input files, by top-level key.
        unused: Top-level keys of networks that this objective does not use.
    """

    config: dict[str, Any]
    module: Any
    domain: Domain
    contents: dict[str, str]
    unused: list[str] = field(default_factory=list)

    @property
    def experiment(self) -> str:
        """Name of what is trained, and of its folder."""
        return networks.room_name(self.config["objective"]["_target_"])

    @property
    def choices(self) -> dict[str, Any]:
        """The settings that determine the run; see `choices_of`."""
        generator, encoder = (getattr(self.module, key, None) for key in ("generator", "encoder"))
        return choices_of(self.config, generator=generator, encoder=encoder)

    @property
    def identity(self) -> str:
        """The run's id: a hash of the settings that change its networks or metrics."""
        config = self.config | {
            "encoder": _with_plain_norm(self.config["encoder"]),
            "data": _with_counts(self.config["data"], self.domain),
        }
        group = batch_norm_group(config, self.module)
        if group is None:  # no statistics to estimate
            config["recalibrate"] = 0
        science = scientific_config(
            config | dict.fromkeys(self.unused), contents=self.contents, batch_norm_group=group
        )
        return run_identity(science)


def assemble(config: dict[str, Any]) -> Parts:
    """Builds data, networks and the LightningModule.

    The objective's class is passed the networks that its parameters name.

    Raises:
        ConfigError: The parts do not fit together, the batch cannot be split evenly, or the
            objective does not support micro-batches.
    """
    check_batch(config)
    hashes: wire.Hashes = {}
    torch.manual_seed(config["seed"])  # the networks' initial weights
    objective = config["objective"]
    asked = set(inspect.signature(get_object(objective["_target_"])).parameters)
    domain = wire.open_data(config["data"], masks="segmenter" in asked)
    check_validation(config, images=len(domain.val))  # type: ignore[arg-type]
    hashes["data"] = domain.fingerprint
    if accumulate_of(config) > 1 and "accumulate" not in asked:
        raise ConfigError(
            f"accumulate={config['accumulate']}: {objective['_target_']} takes its batch whole. "
            "Leave accumulate at 1."
        )
    if augmentation(config) is not None and "augment" not in asked:
        raise ConfigError(
            f"augment: {objective['_target_']} augments nothing; it belongs to experiment=gan. "
            "Leave augment out, or write augment=none."
        )
    arguments = _arguments(config, domain, asked, hashes)
    return Parts(
        config=config,
        module=build(objective, key="objective", **arguments),
        domain=domain,
        contents=hashes,
        unused=[name for name in NETWORKS if name not in asked],
    )


def _arguments(
    config: dict[str, Any], domain: Domain, asked: set[str], hashes: wire.Hashes
) -> dict[str, Any]:
    """Builds the arguments of an objective, chosen by the names of its parameters.

    An objective with an encoder needs a trained generator; one with a generator alone trains it,
    from scratch or from a checkpoint. Keep the order: networks draw their initial weights in turn.

    Raises:
        ConfigError: A generator of another kind or resolution, or data without labels or masks.
    """
    found: dict[str, Any] = {"seed": config["seed"], "accumulate": accumulate_of(config)}
    if asked & {"generator", "encoder"}:
        found["generator"] = generator = starting_generator(
            config["generator"], hashes, fresh="encoder" not in asked, classes=domain.classes
        )
        wire.require_resolution(data=domain.resolution, generator=generator.resolution)
    if "discriminator" in asked:
        weighs = config["objective"].get("lambda_adv", 1.0) > 0
        path = config["generator"].get("path")
        if path and "encoder" not in asked and config["discriminator"]["init"] == "scratch":
            warnings.warn(
                f"D starts untrained beside the trained G of generator.path={path}, and its first "
                "gradients damage G. discriminator=of_generator starts from the D beside G.",
                stacklevel=2,
            )
        found["discriminator"] = None
        if weighs:
            label = config["generator"].get("label")
            found["discriminator"] = starting_discriminator(
                config["discriminator"], path, hashes, classes=domain.classes, label=label
            )
        if "encoder" not in asked:
            _require_same_labels(generator, found["discriminator"])
    if "encoder" in asked:
        found["encoder"] = wire.fresh_encoder(
            config["encoder"], config["latent"], generator=generator, hashes=hashes
        )
        # e4e and pSp accept any resolution.
        takes = getattr(found["encoder"], "resolution", domain.resolution)
        if takes != domain.resolution:
            raise ConfigError(
                f"encoder.backbone.resolution={takes} does not fit data.resolution="
                f"{domain.resolution}: leave it out, or set scale.resolution={domain.resolution}."
            )
    if "perceptual" in asked:
        found["perceptual"] = wire.perceptual_network(config["perceptual"], hashes)
        if config["objective"].get("lambda_vgg", 1.0) > 0:
            key = "perceptual.network.path"
            wire.require_reads(found["perceptual"], domain.resolution, key=key)
    if "network" in asked:  # attributes
        if not domain.attributes:
            raise ConfigError(
                f"data={domain.name} has no labels to learn from; experiment=attributes needs "
                "a miniature domain, such as data=faces_mini."
            )
        found["network"] = build(
            config["attributes"],
            key="attributes",
            names=[attribute.name for attribute in domain.attributes],
            kinds=[attribute.kind for attribute in domain.attributes],
        )
    if "segmenter" in asked:
        if not domain.mask_classes:
            raise ConfigError(
                f"data={domain.name} has no masks to learn from; experiment=segmenter needs a "
                "miniature domain, such as data=faces_mini."
            )
        found["segmenter"] = build(
            config["segmenter"], key="segmenter", classes=domain.mask_classes
        )
    if (node := augmentation(config)) is not None:
        found["augment"] = build(node, key="augment", resolution=domain.resolution)
    return {name: value for name, value in found.items() if name in asked}


def augmentation(config: dict[str, Any]) -> dict[str, Any] | None:
    """The node of ``augment``; ``None`` for augment=none and for older runs, which have none."""
    node = config.get("augment") or {}
    return node if "_target_" in node else None


def batch_norm_group(config: dict[str, Any], module: Any) -> int | None:
    """Number of images that share BatchNorm statistics; ``None`` without an encoder with BatchNorm.

    These are the images that pass through E at once: a micro-batch of one device, or of all
    devices if the statistics are synchronised.
    """
    encoder = getattr(module, "encoder", None)
    if encoder is None or not (norms := batch_norms(encoder)):
        return None
    synchronised = all(getattr(norm, "synchronised", False) for norm in norms)
    ranks = 1 if synchronised else ranks_of(config["trainer"])
    return config["batch_size"] // (ranks * accumulate_of(config))


def _with_plain_norm(node: Any) -> Any:
    """An encoder's node with one name for BatchNorm, synchronised or not; the group is separate."""
    if not isinstance(node, dict):
        return node
    plain = {key: _with_plain_norm(value) for key, value in node.items()}
    return plain | {"norm": "batch"} if plain.get("norm", "none") in (None, "sync") else plain


def _with_counts(node: dict[str, Any], domain: Domain) -> dict[str, Any]:
    """A large folder's node with the earlier default counts, so that older runs keep their id.

    A folder's default test and validation sets are shares if it is small, and 500 and 100 images
    if it is large (`data.split.divide`). Earlier defaults were 500 and 100 always.
    """
    parts: Any = (domain.train, domain.val, domain.test)
    if "split" not in node or node["split"].get("kind") == "list" or sum(map(len, parts)) < 2_500:
        return node
    split, val = node["split"], node["val"]
    test = 500 if split.get("test") is None else split["test"]
    return node | {"split": split | {"test": test}, "val": 100 if val is None else val}


def _fresh(node: dict[str, Any], key: str, classes: Sequence[str]) -> Any:
    """Builds a new G or D, conditional on the classes of the data unless ``c_dim`` is given."""
    more = {"c_dim": len(classes)} if wire.takes(node, "c_dim") else {}
    return _fitting(build(node, key=key, **more), key, classes)


def _fitting(network: Any, what: str, classes: Sequence[str]) -> Any:
    """Returns the network if its labels fit the classes of the data.

    Raises:
        ConfigError: It is conditional, and the data has another number of classes.
    """
    labels = getattr(network, "c_dim", 0)
    if labels not in (0, len(classes)):
        raise ConfigError(
            f"{what} is conditional: it takes labels of {labels} classes, and the images are of "
            f"{len(classes) or 'no'} classes. Choose data of {labels} classes (data=all_mini, "
            "data=folder data.classes=true), one class of a trained generator (generator.label=0), "
            "or networks without labels."
        )
    return network


def _require_same_labels(generator: Any, discriminator: Any) -> None:
    """Refuses a G and D with different numbers of label classes.

    Raises:
        ConfigError: They differ.
    """
    ours, theirs = (getattr(network, "c_dim", 0) for network in (generator, discriminator))
    if ours != theirs:
        raise ConfigError(
            f"G takes labels of {ours} classes and D of {theirs}: give both networks of one kind "
            "(StyleGAN2 is conditional where the data has classes; +generator.c_dim=0 "
            "+discriminator.network.c_dim=0 trains without labels)."
        )


def starting_generator(
    node: dict[str, Any], hashes: wire.Hashes, *, fresh: bool, classes: Sequence[str] = ()
) -> Any:
    """Builds or loads G for training.

    Args:
        node: The configuration's ``generator``.
        hashes: Receives the hash of G's file.
        fresh: Whether G is trained and may be new; otherwise it must be a trained one.
        classes: Classes of the images; a new StyleGAN2 takes them as labels.

    Raises:
        ConfigError: A new G where a trained one is needed, or labels that do not fit the classes.
    """
    if fresh and "_target_" in node:
        return _fresh(node, "generator", classes)
    generator = wire.loaded_generator(node, hashes)
    return _fitting(generator, f"generator.path={node['path']}", classes) if fresh else generator


def starting_discriminator(
    node: dict[str, Any],
    generator_path: str | None,
    hashes: wire.Hashes,
    *,
    classes: Sequence[str] = (),
    label: int | None = None,
) -> nn.Module:
    """Builds or loads D for training (``discriminator.init``).

    Args:
        node: The configuration's ``discriminator``.
        generator_path: Path of a trained G, beside which D may be stored.
        hashes: Receives the hash of D's file.
        classes: Classes of the images; a new StyleGAN2 discriminator takes them as labels.
        label: The class to which G, and therefore a conditional D, is fixed (``generator.label``).

    Raises:
        CheckpointError: ``init=generator`` and there is no D beside the generator.
        ConfigError: An unknown ``init``, or labels that do not fit the classes of the images.
    """
    place, key = node.get("path") or "", "discriminator.path"
    if node["init"] == "scratch":
        return _fresh(node["network"], "discriminator.network", classes)
    if node["init"] == "checkpoint":
        hashes["discriminator"] = fingerprint(find_weights(place, role="discriminator", key=key))
        network: Any = open_network(place, role="discriminator", key=key)
    elif node["init"] == "generator":
        if generator_path is None:
            raise ConfigError(
                "discriminator.init=generator is the D beside a trained G, and this generator is "
                "new. Give generator=checkpoint generator.path=FILE, or start a new D with "
                "discriminator=stylegan2 or discriminator=stylegan."
            )
        found = sibling(generator_path, role="discriminator", of="generator", key="generator.path")
        if not found:
            raise CheckpointError(
                f"there is no discriminator beside generator.path={generator_path}. Give its file "
                "with discriminator.init=checkpoint discriminator.path=FILE, or start an untrained "
                "one with discriminator.init=scratch."
            )
        hashes["discriminator"] = fingerprint(found)
        network = load_network(found, expect="discriminator", key=key)
        place = generator_path
    else:
        raise ConfigError(
            f"discriminator.init={node['init']} is unknown; it takes generator, checkpoint or "
            "scratch."
        )
    if label is not None and getattr(network, "c_dim", False):
        return discriminator_of_class(network, label)
    return _fitting(network, f"the discriminator of {place}", classes)


def choices_of(config: dict[str, Any], *, generator: Any, encoder: Any) -> dict[str, Any]:
    """The choices of a training run, as values for JSON.

    They are stored in the provenance of the weights, so that shipped encoders and this machine's
    runs can be compared by the same keys.

    Args:
        config: The resolved configuration as plain values.
        generator: The trained G, or the G that the encoder belongs to.
        encoder: E, if one is trained.

    Returns:
        ``scale``, ``objective`` (``name`` and settings, with those of its ``schedule``),
        ``batch_size``, ``precision``, ``discriminator`` (its ``init``), and, if present,
        ``generator``, ``encoder``, ``latent``, ``perceptual``, or a GAN's ``augment``.
    """
    objective = config["objective"]
    file = objective["_target_"].rsplit(".", 2)[-2]  # not by importing the class: Lightning is slow
    choices: dict[str, Any] = {
        "scale": config["scale"]["name"],
        "objective": {"name": file} | networks.plain_settings(objective),
        "batch_size": config["batch_size"],
        "precision": (config["trainer"] or {}).get("precision"),
    }
    if "schedule" in objective:
        schedule = objective["schedule"]
        name = schedule["_target_"].rsplit(".", 1)[-1]
        choices["objective"]["schedule"] = {"name": name} | networks.plain_settings(schedule)
    if config.get("discriminator"):
        choices["discriminator"] = config["discriminator"]["init"]
    if generator is not None:
        choices["generator"] = networks.network_choices(generator)
    if encoder is not None:
        noise = {key: encoder.architecture.get(key) for key in ("noise_blocks", "noise_std")}
        made = networks.network_choices(encoder.backbone)
        if made.get("norm") == "sync":  # a setting of the devices, not of the encoder
            made["norm"] = "batch"
        choices["encoder"] = made | {
            "noise_blocks": noise["noise_blocks"] or 0,
            "noise_std": noise["noise_std"] if noise["noise_blocks"] else None,
        }
        choices["latent"] = {
            "space": config["latent"]["space"],
            "offset": "w_avg" if encoder.architecture["offset"] else "none",
            "deltas": getattr(encoder, "deltas", False),
        }
        choices["perceptual"] = networks.perceptual_name(config["perceptual"])
    elif (augment := augmentation(config)) is not None:
        name = augment["_target_"].rsplit(".", 1)[-1]
        choices["augment"] = {"name": name} | networks.plain_settings(augment)
    return choices
