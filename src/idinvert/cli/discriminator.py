"""The discriminator that the training of an encoder starts from."""

from typing import Any

from torch import nn

from idinvert.checkpoints.bundle import find_weights, open_network, sibling
from idinvert.checkpoints.release import load_network
from idinvert.config.instantiate import build
from idinvert.errors import CheckpointError, ConfigError
from idinvert.evaluation.networks import Contents


def starting_discriminator(
    node: dict[str, Any], *, generator_path: str | None, contents: Contents
) -> nn.Module:
    """D as training starts from it (``discriminator.init``).

    Raises:
        CheckpointError: ``init=generator`` and there is no D beside the generator.
        ConfigError: An unknown ``init``, or a D that wants labels.
    """
    init = node["init"]
    if init == "scratch":
        fresh = build(node["network"], key="discriminator.network")
        if getattr(fresh, "c_dim", 0):
            raise ConfigError(
                f"discriminator.network.c_dim={fresh.c_dim} makes a conditional discriminator, and "
                "training here is on images alone, without labels. Leave it out."
            )
        return fresh
    if init == "checkpoint":
        path = node["path"] or ""
        contents.note(
            "discriminator", find_weights(path, role="discriminator", key="discriminator.path")
        )
        network = open_network(path, role="discriminator", key="discriminator.path")
        return _without_labels(network, path=path)
    if init != "generator":
        raise ConfigError(
            f"discriminator.init={init} is unknown; it takes generator, checkpoint or scratch."
        )
    found = generator_path and sibling(
        generator_path, role="discriminator", of="generator", key="generator.path"
    )
    if not found:
        raise CheckpointError(
            f"there is no discriminator beside generator.path={generator_path}. Give its file with "
            "discriminator.init=checkpoint discriminator.path=FILE, or start an untrained one "
            "with discriminator.init=scratch."
        )
    contents.note("discriminator", found)
    network = load_network(found, expect="discriminator", key="discriminator.path")
    return _without_labels(network, path=generator_path)


def _without_labels(discriminator: Any, *, path: Any) -> nn.Module:
    labels = getattr(discriminator, "c_dim", 0)
    if labels:
        raise ConfigError(
            f"the discriminator of {path} is conditional: it wants labels of {labels} numbers, and "
            "an encoder trains on images alone. Start an untrained one with "
            "discriminator.init=scratch."
        )
    return discriminator
