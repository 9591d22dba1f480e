"""TensorFlow networks as NVlabs' ``dnnlib`` pickles them, as data."""

from collections.abc import Mapping
from typing import Any

from idinvert.checkpoints.formats.archive import Stored


def network(
    name: str,
    variables: Mapping[str, Any],
    *,
    function: str,
    settings: Mapping[str, Any],
    components: Mapping[str, Stored] | None = None,
) -> Stored:
    """A network of named variables."""
    state = {
        "version": 4,
        "name": name,
        "static_kwargs": dict(settings),
        "components": dict(components or {}),
        "build_func_name": function,
        "variables": list(variables.items()),
    }
    return Stored("dnnlib.tflib.network", "Network", (), {}, state)


def generator(
    variables: Mapping[str, Any], *, function: str, settings: Mapping[str, Any]
) -> Stored:
    """G with its components, from variables by their names in the whole network."""
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {"synthesis": {}, "mapping": {}}
    for name, value in variables.items():
        scope, _, rest = name.partition("/")
        if scope.startswith("G_"):
            parts[scope.removeprefix("G_")][rest] = value
        else:
            own[name] = value
    components = {
        name: network(f"G_{name}", group, function=f"G_{name}", settings=settings)
        for name, group in parts.items()
    }
    return network("G", own, function=function, settings=settings, components=components)
