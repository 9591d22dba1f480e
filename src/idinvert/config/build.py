"""The one wrapper around Hydra's instantiate: plain values in, objects out, readable errors."""

from collections.abc import Callable
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate

from idinvert.errors import ConfigError, IdinvertError


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
