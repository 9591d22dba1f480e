"""From a configuration to the parts of a training run; whatever can fail early fails here."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from hydra.utils import get_object

from idinvert.cli.devices import accumulate_of, check_batch, check_validation, ranks_of
from idinvert.cli.discriminator import starting_discriminator
from idinvert.config.identity import run_identity, scientific_config
from idinvert.config.instantiate import build
from idinvert.data.domain import Domain
from idinvert.errors import ConfigError
from idinvert.evaluation import networks as wire
from idinvert.networks.batch_norm import batch_norms


@dataclass
class Parts:
    """What a training run is made of, before there is a folder for it.

    Args:
        config: The resolved configuration as plain values.
        module: The LightningModule.
        domain: The images.
        contents: Content hashes of the files it stands on, by top-level key.
        unused: Top-level keys of networks that this objective does not ask for.
    """

    config: dict[str, Any]
    module: Any
    domain: Domain
    contents: dict[str, str]
    unused: list[str] = field(default_factory=list)

    @property
    def identity(self) -> str:
        """The run's id: what of the configuration changes its networks or figures."""
        config = self.config | {"encoder": _with_plain_norm(self.config["encoder"])}
        group = batch_norm_group(config, self.module)
        if group is None:  # no statistics to estimate
            config["recalibrate"] = 0
        science = scientific_config(
            config | dict.fromkeys(self.unused), contents=self.contents, batch_norm_group=group
        )
        return run_identity(science)


def assemble(config: dict[str, Any]) -> Parts:
    """Builds data, networks and the LightningModule.

    The objective's class is given what its signature asks for by name; see `Supplies`.

    Raises:
        ConfigError: Parts that do not fit together; among them a batch that cannot be shared out,
            and micro-batches for an objective that knows none.
    """
    check_batch(config)
    contents = wire.Contents()
    torch.manual_seed(config["seed"])  # the networks' initial weights
    domain = build(config["data"], key="data")
    check_validation(config, images=len(domain.val))  # type: ignore[arg-type]
    contents.hashes["data"] = domain.fingerprint
    objective = config["objective"]
    asked = inspect.signature(get_object(objective["_target_"])).parameters
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
    supplies = Supplies(config=config, domain=domain, contents=contents, asked=frozenset(asked))
    runtime = {name: make() for name, make in supplies.makers().items() if name in asked}
    module = build(objective, key="objective", **runtime)
    networks = ("generator", "discriminator", "encoder", "perceptual")
    return Parts(
        config=config,
        module=module,
        domain=domain,
        contents=contents.hashes,
        unused=[name for name in networks if name not in asked],
    )


@dataclass
class Supplies:
    """What an objective may ask for by the name of a parameter.

    One that asks for an encoder stands on a trained generator; one that asks for a generator
    alone trains it.
    """

    config: dict[str, Any]
    domain: Domain
    contents: wire.Contents
    asked: frozenset[str]
    _generator: Any = None

    def makers(self) -> dict[str, Callable[[], Any]]:
        """Parameter -> what makes its value, in the order in which they are made."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "encoder": self.encoder,
            "perceptual": lambda: wire.perceptual_network(self.config["perceptual"], self.contents),
            "network": self.attribute_network,
            "seed": lambda: self.config["seed"],
            "augment": self.augment,
            "accumulate": lambda: accumulate_of(self.config),
        }

    def generator(self) -> Any:
        """G, loaded or fresh.

        Raises:
            ConfigError: It is not the kind that the objective needs, or of another resolution.
        """
        if self._generator is None:
            node = self.config["generator"]
            if "encoder" in self.asked:
                self._generator = wire.loaded_generator(node, self.contents)
            else:
                self._generator = build(node, key="generator")
            wire.require_resolution(
                data=self.domain.resolution, generator=self._generator.resolution
            )
        return self._generator

    def discriminator(self) -> Any:
        """D as training starts from it; ``None`` where the objective gives it no weight."""
        if not self.config["objective"].get("lambda_adv", 1.0) > 0:
            return None
        path = self.config["generator"]["path"] if "encoder" in self.asked else None
        return starting_discriminator(
            self.config["discriminator"], generator_path=path, contents=self.contents
        )

    def encoder(self) -> Any:
        """A fresh E for the generator, or one that starts from a file's weights."""
        path = self.config["encoder"].get("path")
        if path is not None:
            self.contents.note("encoder", path)
        return wire.fresh_encoder(
            self.config["encoder"],
            self.config["latent"],
            generator=self.generator(),
            contents=self.contents,
        )

    def augment(self) -> Any:
        """What D's images go through; ``None`` where they are shown as they are."""
        node = augmentation(self.config)
        if node is None:
            return None
        return build(node, key="augment", resolution=self.domain.resolution)

    def attribute_network(self) -> Any:
        """A fresh attribute network for the labels of the data.

        Raises:
            ConfigError: The data has none.
        """
        if not self.domain.attributes:
            raise ConfigError(
                f"data={self.domain.name} has no labels to learn from; experiment=attributes needs "
                "a miniature domain, such as data=faces_mini."
            )
        return build(
            self.config["attributes"],
            key="attributes",
            names=[attribute.name for attribute in self.domain.attributes],
            kinds=[attribute.kind for attribute in self.domain.attributes],
        )


def augmentation(config: dict[str, Any]) -> dict[str, Any] | None:
    """The node of ``augment``; ``None`` for augment=none and for runs from before there was one."""
    node = config.get("augment") or {}
    return node if "_target_" in node else None


def batch_norm_group(config: dict[str, Any], module: Any) -> int | None:
    """Images that share BatchNorm statistics; ``None`` without an encoder that has BatchNorm.

    Those that go through E at once: a micro-batch of one device, or of all where they are
    synchronised.
    """
    encoder = getattr(module, "encoder", None)
    if encoder is None or not (norms := batch_norms(encoder)):
        return None
    synchronised = all(getattr(norm, "synchronised", False) for norm in norms)
    ranks = 1 if synchronised else ranks_of(config["trainer"])
    return config["batch_size"] // (ranks * accumulate_of(config))


def _with_plain_norm(node: Any) -> Any:
    """An encoder's node with one word for batch normalisation: its group says over what."""
    if not isinstance(node, dict):
        return node
    plain = {key: _with_plain_norm(value) for key, value in node.items()}
    return plain | {"norm": "batch"} if plain.get("norm", "none") in (None, "sync") else plain
