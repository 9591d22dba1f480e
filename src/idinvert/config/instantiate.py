"""Checks ``_target_`` nodes against the signatures they call, and builds what they describe."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_object, instantiate

from idinvert.errors import ConfigError, IdinvertError, nearest


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


def bind(node: dict[str, Any], *, key: str) -> Callable[..., Any]:
    """The callable that a node names, with its keys filled in and inner nodes built.

    What only the program knows (networks, data sets) is handed to the result: Hydra would take a
    dataclass among its own arguments for configuration and copy it.

    Args:
        node: Plain values with a ``_target_``.
        key: Where the node stands in the configuration, for the error.

    Raises:
        ConfigError: An inner node's target refused its arguments.
        IdinvertError: An inner node's own error, as it is.
    """
    try:
        return instantiate({**node, "_partial_": True}, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, IdinvertError):
            raise cause from None
        raise ConfigError(f"{key}: {cause or error}") from error


def build(node: dict[str, Any], *, key: str, **runtime: Any) -> Any:
    """Builds the object that a node describes.

    Args:
        node: Plain values with a ``_target_``.
        key: Where the node stands in the configuration, for the error.
        runtime: Arguments that are objects: networks, data sets.

    Raises:
        ConfigError: The target refused its arguments.
        IdinvertError: The target's own error, as it is.
    """
    target = bind(node, key=key)
    try:
        return target(**runtime)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error
