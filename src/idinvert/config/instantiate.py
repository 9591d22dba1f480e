"""Checks ``_target_`` nodes against the signatures they name, and builds their objects."""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate

from idinvert.config.values import check_values
from idinvert.errors import ConfigError, IdinvertError
from idinvert.untrusted import shown


def dicts(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields ``node`` and every dict below it, with their dotted paths."""
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from dicts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from dicts(value, f"{path}[{index}]")


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every dict with a ``_target_`` in ``node``, with its dotted path."""
    for at, found in dicts(node, path):
        if "_target_" in found:
            yield at, found


def check_signatures(config: dict[str, Any]) -> None:
    """Checks all values, and each ``_target_`` node's keys against its target's parameters.

    Args:
        config: The resolved configuration as plain values.

    Raises:
        ConfigError: A target that cannot be imported, a key that its target does not take, or a
            value outside the key's type, range or set; see `config.values`.
    """
    check_values(config)


EXTRACTORS = "metric.extractors."
LIKE_EXTRACTORS = "perceptual.network"
"""The classes allowed at this key are also allowed below `EXTRACTORS`, under any name."""


def check_stored(
    config: dict[str, Any], *, usual: Mapping[str, Collection[str]], named: Collection[str]
) -> None:
    """Refuses a stored configuration that would build classes that are not allowed.

    Imports nothing. Each key may name the classes that this package's own configurations use there,
    and any class that the user names on this command line. Only nodes of the latter may have
    Hydra's other keys (``_partial_``, ``_args_``). Interpolations (``${…}``), from which Hydra
    would create new nodes, are refused: a stored configuration is resolved.

    Args:
        config: Plain values, as `untrusted.check_plain` allows them.
        usual: Dotted key to the targets allowed there; see `compose.usual_targets`.
        named: Classes that the user names (``classes=[…]``).

    Raises:
        ConfigError: Names the first target or key that is refused.
    """
    for path, node in dicts(config):
        for text in _texts(list(node.values())):
            if "${" in text:
                raise ConfigError(f"{path} holds {shown(text)}, and what is stored is resolved")
        special = sorted(key for key in map(str, node) if key.startswith("_"))
        name = node.get("_target_")
        if not special or (isinstance(name, str) and name in named):
            continue
        if isinstance(name, str) and name not in _allowed(path, usual):
            raise ConfigError(
                f"{path}._target_ names {shown(name)}, which this package does not build there; "
                "nothing was imported. If you know and trust that code, name it on this command "
                f"line: {named_words([name])}"
            )
        if special != ["_target_"] or not isinstance(name, str):
            raise ConfigError(f"{path} has the keys {', '.join(map(shown, special))}")


def own_targets(config: dict[str, Any], *, usual: Mapping[str, Collection[str]]) -> list[str]:
    """The targets of a configuration that must be named (``classes=[…]``) to read it again."""
    found = [(path, str(node["_target_"])) for path, node in targets(config)]
    return sorted({name for path, name in found if name not in _allowed(path, usual)})


def _allowed(path: str, usual: Mapping[str, Collection[str]]) -> set[str]:
    like = LIKE_EXTRACTORS if path.startswith(EXTRACTORS) else path
    return {*usual.get(path, ()), *usual.get(like, ())}


def _texts(values: list[Any]) -> Iterator[str]:
    """The text in nested lists."""
    for value in values:
        if isinstance(value, list):
            yield from _texts(value)
        elif isinstance(value, str):
            yield value


def named_words(names: Collection[str]) -> str:
    """The override that names classes, quoted for a shell; empty without names."""
    return shlex.quote(f"classes=[{','.join(names)}]") if names else ""


def bind(node: dict[str, Any], *, key: str) -> Callable[..., Any]:
    """Returns a node's target as a partial function: its keys are bound, inner nodes are built.

    Objects (networks, data sets) are passed to the result and not to Hydra, which would treat a
    dataclass as configuration and copy it.

    Args:
        node: Plain values with a ``_target_``.
        key: The node's key in the configuration, for the error.

    Raises:
        ConfigError: An inner node's target refused its arguments.
        IdinvertError: An inner node's own error, unchanged.
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
        key: The node's key in the configuration, for the error.
        runtime: Arguments that are objects: networks, data sets.

    Raises:
        ConfigError: The target refused its arguments.
        IdinvertError: The target's own error, unchanged.
    """
    target = bind(node, key=key)
    try:
        return target(**runtime)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error
