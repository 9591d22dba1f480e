"""A generator as a configuration names it: a file, or one class of a file's conditional one."""

from collections.abc import Mapping
from typing import Any

from idinvert.checkpoints.bundle import find_weights, open_network
from idinvert.checkpoints.mean_code import mean_code
from idinvert.checkpoints.release import fingerprint
from idinvert.config.identity import digest_of
from idinvert.networks.one_class import generator_of_class

PLACE: Mapping[str, Any] = {"role": "generator", "key": "generator.path"}


def open_generator(node: Mapping[str, Any]) -> Any:
    """The frozen generator of a node with a ``path``.

    With a ``label`` it is that class of a conditional one, and its mean code is the class's own.

    Raises:
        CheckpointError: See `bundle.find_weights`.
        ConfigError: There is no such class.
    """
    generator = open_network(node["path"], settings=node, **PLACE)
    if node.get("label") is not None:
        generator = generator_of_class(generator, node["label"])
        generator.w_avg.copy_(mean_code(generator))
    return generator


def generator_hash(node: Mapping[str, Any]) -> str:
    """The content hash of that generator; each class of a file has one of its own."""
    digest = fingerprint(find_weights(node["path"], settings=node, **PLACE))
    label = node.get("label")
    return digest if label is None else digest_of([digest, label])[:16]
