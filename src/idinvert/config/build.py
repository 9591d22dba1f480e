"""The one wrapper around Hydra's instantiate: plain values in, objects out, readable errors."""

from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate

from idinvert.errors import ConfigError, IdinvertError


def build(node: dict[str, Any], *, key: str, **runtime: Any) -> Any:
    """Calls a node's ``_target_`` with its keys and with what only the program knows.

    Args:
        node: Plain values with a ``_target_``.
        key: Where the node stands in the configuration, for the error.
        runtime: Arguments that are objects: networks, data sets.

    Raises:
        ConfigError: The target refused its arguments.
        IdinvertError: The target's own error, as it is.
    """
    try:
        return instantiate(node, **runtime, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, IdinvertError):
            raise cause from None
        raise ConfigError(f"{key}: {cause or error}") from error
