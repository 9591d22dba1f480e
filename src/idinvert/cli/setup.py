"""Everything an evaluation stands on, opened once: networks, data, measures, origin."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from idinvert.cli import networks as wire
from idinvert.cli.choices import perceptual_name, room_name
from idinvert.cli.provenance import command, versions
from idinvert.cli.run_config import take
from idinvert.config.build import build
from idinvert.config.run_folder import find_run, read_config
from idinvert.errors import ConfigError
from idinvert.evaluation.measures import Measures
from idinvert.evaluation.origin import Origin
from idinvert.inversion.inversion import Inverter
from idinvert.weights.bundle import SHIPPED, find_weights
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
    perceptual: nn.Module | None
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
        extractors = {"attributes": self.attributes}
        if self.perceptual is not None:
            extractors.setdefault(perceptual_name(self.config["perceptual"]), self.perceptual)
        return Measures(
            names=metric["names"],
            extractors={name: network for name, network in extractors.items() if network},
            attribute_network=self.attributes,
            inception_path=metric["inception_path"],
            lpips_path=metric["lpips_path"],
            seed=self.config["seed"],
        )


def with_run(config: dict[str, Any], *, given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The configuration with what ``run=RUN`` brings along.

    Args:
        config: The resolved configuration as plain values.
        given: Keys that stand on the command line, as `given_keys` sorts them; they win over the
            run's: a group as a whole (``data=folder``), or a single key (``data.test=8``).

    Returns:
        A configuration whose ``n`` and ``batch_size`` are numbers.

    Raises:
        ConfigError: No such run, or a number that makes no sense.
    """
    config = dict(config)
    folder = _run_folder(config)
    if folder is not None:
        config |= _brought_by(read_config(folder), config, given=given)
        if "encoder" not in given:
            config["encoder"] = {"path": str(folder)}
    if config["n"] is None:
        config["n"] = config["scale"]["n_test"]
    if config["batch_size"] is None:
        config["batch_size"] = config["scale"]["inversion_batch_size"]
    if config["batch_size"] < 1:
        raise ConfigError(f"batch_size={config['batch_size']}: expected 1 or more.")
    return config


def _run_folder(config: dict[str, Any]) -> Path | None:
    """The folder of ``run``; ``None`` without one, or for the shipped run, which has none here.

    Tables print commands with the shipped run's id.
    """
    if config["run"] is None:
        return None
    try:
        return find_run(config["run"], outputs=config["system"]["outputs"])
    except ConfigError:
        if not is_shipped(config["run"]):
            raise
        return None


def is_shipped(run: str) -> bool:
    """Whether a run id is that of the encoder that comes with this package."""
    path = find_weights(f"{SHIPPED}faces_mini", role="encoder", key="run")
    return read_header(path, key="run").provenance.get("run") == run


def _brought_by(
    stored: dict[str, Any], config: dict[str, Any], *, given: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What a run brings along, with the single keys that stand on the command line."""
    brought = {
        key: stored[key]
        for key in FROM_RUN
        if key in stored and key not in given.get(key, ()) and (stored[key] or key not in given)
    }
    take(brought, config, [word for key in brought for word in given.get(key, ())])
    if "cache_dir" in brought.get("data", {}) and "data.cache_dir" not in given.get("data", ()):
        brought["data"]["cache_dir"] = config["system"]["cache"]  # this machine's
    return brought


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
    provenance = read_header(path, key="encoder.path").provenance
    _require_fit(encoder, generator)
    _require_same(provenance, generator=contents.hashes["generator"])
    contents.note("encoder", path)
    perceptual = wire.perceptual_network(config["perceptual"], contents)
    attributes = wire.attribute_network(config["attributes"], contents)
    inverter = build_inverter(config, encoder=encoder, perceptual=perceptual)
    return Setup(
        config=config,
        generator=generator,
        encoder=encoder,
        inverter=inverter,
        inverter_name=room_name(config["inversion"]["_target_"]),
        perceptual=perceptual,
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


def _require_same(provenance: dict[str, Any], *, generator: str) -> None:
    trained_for = provenance.get("stands_on", {}).get("generator", generator)
    if trained_for != generator:
        raise ConfigError(
            f"the encoder was trained for generator {trained_for} and this is {generator}: codes "
            "do not carry over between generators of the same shape. Give its generator "
            "(generator.path), or another encoder (encoder.path, run)."
        )
