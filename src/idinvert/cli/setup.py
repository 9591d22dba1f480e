"""Everything an evaluation stands on, opened once: networks, data, measures, origin."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from idinvert.cli import networks as wire
from idinvert.cli.choices import room_name
from idinvert.cli.provenance import command, versions
from idinvert.config.build import build
from idinvert.config.run_folder import find_run, read_config
from idinvert.errors import ConfigError
from idinvert.evaluation.measures import Measures
from idinvert.evaluation.origin import Origin
from idinvert.inversion.inversion import Inverter
from idinvert.weights.bundle import find_weights
from idinvert.weights.release import load_network, read_header

FROM_RUN = ("scale", "data", "generator", "perceptual", "attributes", "metric")
"""Top-level keys that a run brings along, unless the command line gives them."""


@dataclass(frozen=True)
class Setup:
    """What the tasks of ``evaluate.py`` work with."""

    config: dict[str, Any]
    generator: Any
    encoder: nn.Module
    inverter: Inverter
    inverter_name: str
    attributes: Any
    origin: Origin

    @property
    def out(self) -> Path:
        """Where the results of this run and task go."""
        return Path(self.config["system"]["outputs"]) / "evaluations" / self.origin.run

    def mark(self, *contents: str) -> str:
        """Six digits that tell results apart which may not be mixed: method, networks, precision.

        Args:
            contents: Further content hashes, of the data.
        """
        precision = self.config["trainer"]["precision"]
        parts = [self.inverter.settings, dict(self.origin.checkpoints), precision, *contents]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:6]

    @property
    def measures(self) -> Measures:
        """The metrics of the configuration, with their networks."""
        metric = self.config["metric"]
        extractors = {} if self.attributes is None else {"attributes": self.attributes}
        return Measures(
            names=metric["names"],
            extractors=extractors,
            attribute_network=self.attributes,
            inception_path=metric["inception_path"],
            lpips_path=metric["lpips_path"],
            seed=self.config["seed"],
        )


def with_run(config: dict[str, Any], *, given: set[str]) -> dict[str, Any]:
    """The configuration with what ``run=RUN`` brings along.

    Args:
        config: The resolved configuration as plain values.
        given: Top-level keys that stand on the command line, which win over the run's.

    Returns:
        A configuration whose ``n`` and ``batch_size`` are numbers.
    """
    config = dict(config)
    if config["run"] is not None:
        folder = find_run(config["run"], outputs=config["system"]["outputs"])
        stored = read_config(folder)
        for key in FROM_RUN:
            if key not in given and stored.get(key) is not None:
                config[key] = stored[key]
        if "encoder" not in given:
            config["encoder"] = {"path": str(folder)}
    if config["n"] is None:
        config["n"] = config["scale"]["n_test"]
    if config["batch_size"] is None:
        config["batch_size"] = config["scale"]["inversion_batch_size"]
    return config


def open_setup(config: dict[str, Any]) -> Setup:
    """Loads the networks and builds the inverter; whatever does not fit fails here.

    Raises:
        CheckpointError: Weights are missing, broken or of another kind.
        ConfigError: The encoder belongs to another generator.
    """
    contents = wire.Contents()
    generator = wire.loaded_generator(config["generator"], contents)
    path = find_weights(config["encoder"]["path"], role="encoder", key="encoder.path")
    encoder = load_network(path, expect="encoder", key="encoder.path")
    _require_fit(encoder, generator)
    contents.note("encoder", path)
    perceptual = wire.perceptual_network(config["perceptual"], contents)
    attributes = wire.attribute_network(config["attributes"], contents)
    provenance = read_header(path, key="encoder.path").provenance
    inverter = build_inverter(config, encoder=encoder, perceptual=perceptual)
    return Setup(
        config=config,
        generator=generator,
        encoder=encoder,
        inverter=inverter,
        inverter_name=room_name(config["inversion"]["_target_"]),
        attributes=attributes,
        origin=Origin(
            run=provenance.get("run", contents.hashes["encoder"]),
            choices=provenance.get("choices", {}),
            nimg=provenance.get("nimg", 0),
            checkpoints=contents.hashes,
            seed=provenance.get("seed", 0),
            command=command(),
            versions=versions(),
        ),
    )


def build_inverter(
    config: dict[str, Any], *, encoder: nn.Module, perceptual: nn.Module | None
) -> Inverter:
    """The inverter of the configuration's ``inversion``."""
    node = dict(config["inversion"])
    if "lambda_vgg" not in node:
        return build(node, key="inversion", encoder=encoder)
    if node["lambda_vgg"] is None:
        node["lambda_vgg"] = config["perceptual"]["lambda_vgg"] if perceptual else 0.0
    latent = getattr(encoder, "architecture", {}).get("latent", "w_plus")
    return build(node, key="inversion", encoder=encoder, perceptual=perceptual, latent=latent)


def _require_fit(encoder: Any, generator: Any) -> None:
    theirs = (encoder.architecture["num_layers"], encoder.architecture["w_dim"])
    ours = (generator.num_layers, generator.w_dim)
    if theirs != ours:
        raise ConfigError(
            f"the encoder gives {theirs[0]} codes of {theirs[1]} numbers and the generator takes "
            f"{ours[0]} of {ours[1]}. Give the generator it was trained for (generator.path), or "
            "another encoder (encoder.path, run)."
        )
