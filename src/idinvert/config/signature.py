"""Checks of ``_target_`` nodes against the signatures they call, before anything is built."""

import difflib
import inspect
from collections.abc import Iterator
from typing import Any

from hydra.utils import get_object

from idinvert.errors import ConfigError


def nearest(name: str, known: list[str]) -> str:
    """The sentence that points a typo to the nearest valid name, or lists what there is."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean '{close[0]}'?" if close else f"Known here: {', '.join(sorted(known))}."


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict with a ``_target_`` below ``node``, with its dotted path."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{path}[{index}]")


def check_signatures(config: dict[str, Any]) -> None:
    """Binds each ``_target_`` node's keys to the parameters of what it names.

    Args:
        config: The resolved configuration as plain values.

    Raises:
        ConfigError: A target that cannot be imported, or a key its target does not take.
    """
    for path, node in targets(config):
        try:
            target = get_object(node["_target_"])
        except Exception as error:
            raise ConfigError(f"{path}._target_={node['_target_']}: {error}") from error
        parameters = inspect.signature(target).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            continue
        for key in node:
            if not str(key).startswith("_") and key not in parameters:
                raise ConfigError(
                    f"{path}.{key} is not a parameter of {node['_target_']}. "
                    + nearest(str(key), list(parameters))
                )
