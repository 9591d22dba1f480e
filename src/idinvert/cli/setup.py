"""Everything an evaluation stands on, opened once: networks, data, measures, origin."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from torch import nn

from idinvert.checkpoints.bundle import find_weights
from idinvert.checkpoints.release import load_network, read_header
from idinvert.cli.devices import compile_inversion
from idinvert.config.instantiate import build
from idinvert.errors import CheckpointError, ConfigError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.measures import Measures
from idinvert.evaluation.networks import network_choices, perceptual_name, room_name
from idinvert.evaluation.provenance import Provenance, command, trained_by, versions
from idinvert.inversion.inversion import Inverter


@dataclass(frozen=True)
class Setup:
    """What the tasks of ``evaluate.py`` work with."""

    config: dict[str, Any]
    generator: Any
    encoder: nn.Module | None
    inverter: Inverter
    inverter_name: str
    perceptual: nn.Module | None
    attributes: Any
    extractors: Mapping[str, nn.Module]
    origin: Provenance
    trained_on: str | None = None

    @property
    def out(self) -> Path:
        """Where the results of this run and task go."""
        return Path(self.config["system"]["outputs"]) / "evaluations" / self.origin.run

    @property
    def measures(self) -> Measures:
        """The metrics of the configuration, with their networks."""
        metric = self.config["metric"]
        extractors = {**self.extractors, "attributes": self.attributes}
        if self.perceptual is not None:
            extractors.setdefault(perceptual_name(self.config["perceptual"]), self.perceptual)
        return Measures(
            names=metric["names"],
            extractors={name: network for name, network in extractors.items() if network},
            attribute_network=self.attributes,
            inception_path=metric["inception_path"],
            lpips_path=metric["lpips_path"],
            seed=self.config["seed"],
            reference=self.config["reference"],
        )


def open_setup(config: dict[str, Any]) -> Setup:
    """Loads the networks and builds the inverter; whatever does not fit fails here.

    A method that takes no encoder is a matter of the generator alone: no encoder is opened, and its
    records carry the generator's run.

    Raises:
        CheckpointError: Weights are missing, broken or of another kind.
        ConfigError: The encoder belongs to another generator, or the method takes one and there is
            none.
    """
    contents = wire.Contents()
    generator = wire.loaded_generator(config["generator"], contents)
    encoder = None
    provenance = _provenance(config["generator"]["path"])
    if takes(config["inversion"], "encoder"):
        encoder, provenance = _open_encoder(config, generator=generator, contents=contents)
    perceptual = wire.perceptual_network(config["perceptual"], contents)
    attributes = wire.attribute_network(config["attributes"], contents)
    if config["system"].get("compile"):
        compile_inversion(generator, encoder, perceptual)
    inverter = build_inverter(config, encoder=encoder, perceptual=perceptual)
    made = {"scale": config["scale"]["name"], "generator": network_choices(generator)}
    role = "generator" if encoder is None else "encoder"
    return Setup(
        config=config,
        generator=generator,
        encoder=encoder,
        inverter=inverter,
        inverter_name=room_name(config["inversion"]["_target_"]),
        perceptual=perceptual,
        attributes=attributes,
        extractors=wire.extractors(config["metric"].get("extractors", {})),  # older runs have none
        origin=Provenance(
            run=provenance.get("run", contents.hashes[role]),
            choices=provenance.get("choices", made if encoder is None else {}),
            nimg=provenance.get("nimg", 0),
            checkpoints=contents.hashes,
            seed=provenance.get("seed", 0),
            command=command(),
            versions=versions() | trained_by(provenance),
        ),
        trained_on=provenance.get("data"),
    )


def build_inverter(
    config: dict[str, Any], *, encoder: nn.Module | None, perceptual: nn.Module | None
) -> Inverter:
    """The inverter of the configuration's ``inversion``, given what its constructor asks for."""
    return build_method(config["inversion"], config, encoder=encoder, perceptual=perceptual)


def build_method(
    node: dict[str, Any],
    config: dict[str, Any],
    *,
    key: str = "inversion",
    encoder: nn.Module | None,
    perceptual: nn.Module | None,
    **more: Any,
) -> Any:
    """Builds a method from its node and those networks that its signature names.

    Args:
        node: With a ``_target_``; ``lambda_vgg: null`` becomes the method's own weight on F, else
            the weight that belongs to F.
        config: The whole configuration.
        key: Where the node stands in it.
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
    """Whether what a node names has a parameter ``name`` that the node leaves open."""
    return name not in node and name in inspect.signature(get_object(node["_target_"])).parameters


def _open_encoder(
    config: dict[str, Any], *, generator: Any, contents: wire.Contents
) -> tuple[nn.Module, dict[str, Any]]:
    """E with its provenance."""
    if not config["encoder"] or config["encoder"].get("path") is None:
        raise ConfigError(
            f"inversion={room_name(config['inversion']['_target_'])} takes an encoder: give "
            "the run=RUN of an encoder, or encoder.path=FILE, or choose a method without one "
            "(inversion=image2stylegan, projector or free)."
        )
    path = find_weights(config["encoder"]["path"], role="encoder", key="encoder.path")
    classes = config["encoder"].get("classes") or ()
    encoder = load_network(path, expect="encoder", key="encoder.path", classes=classes)
    provenance = read_header(path, key="encoder.path").provenance
    _require_fit(encoder, generator)
    _require_same(provenance, generator=contents.hashes["generator"])
    contents.note("encoder", path)
    return encoder, provenance


def _provenance(path: str) -> dict[str, Any]:
    """What a generator's file says of its making; nothing where it is another program's."""
    try:
        found = find_weights(path, role="generator", key="generator.path")
        return read_header(found, key="generator.path").provenance
    except CheckpointError:
        return {}


def _require_fit(encoder: Any, generator: Any) -> None:
    theirs = (encoder.architecture["num_layers"], encoder.architecture["w_dim"])
    ours = (generator.num_layers, generator.w_dim)
    if theirs != ours:
        raise ConfigError(
            f"the encoder gives {theirs[0]} codes of {theirs[1]} numbers and the generator takes "
            f"{ours[0]} of {ours[1]}. Give the generator it was trained for (generator.path), or "
            "another encoder (encoder.path, run)."
        )


def _require_same(provenance: dict[str, Any], *, generator: str) -> None:
    trained_for = provenance.get("stands_on", {}).get("generator", generator)
    if trained_for != generator:
        raise ConfigError(
            f"the encoder was trained for generator {trained_for} and this is {generator}: codes "
            "do not carry over between generators of the same shape. Give its generator "
            "(generator.path), or another encoder (encoder.path, run)."
        )
