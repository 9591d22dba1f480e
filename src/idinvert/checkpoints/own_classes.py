"""Networks of the user's own in weight files: named in full, built where the user names them too.

A weights file may come from anywhere, so a class is never built because the file says so. This
package's own are listed in `idinvert.checkpoints.release`; any other must be named by whoever opens
the file: ``run=RUN`` takes the names from the run's configuration, ``encoder.classes`` from here.
"""

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from idinvert.errors import CheckpointError


def full_name(module: nn.Module) -> str:
    """``module.Class``, as a ``_target_`` names it."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def is_own(name: str) -> bool:
    """Whether a class in a file is of another package than this one, which names it in full."""
    return "." in name


def with_own_parts(
    node: dict[str, Any], *, classes: Collection[str], path: Path, key: str
) -> dict[str, Any]:
    """An architecture whose parts of own classes (an encoder's backbone) are built.

    Args:
        node: Plain values; a part is a dict with a ``class``.
        classes: The own classes that may be built, in full.
        path: The file, for messages.
        key: The config key that named it, for messages.

    Raises:
        CheckpointError: As `own_class`.
    """
    built: dict[str, Any] = dict(node)
    for name, part in node.items():
        if isinstance(part, dict) and is_own(str(part.get("class", ""))):
            arguments = {key: value for key, value in part.items() if key != "class"}
            built[name] = own_class(part["class"], classes=classes, path=path, key=key)(**arguments)
    return built


def own_class(name: str, *, classes: Collection[str], path: Path, key: str) -> type[nn.Module]:
    """The class of a full name, if it may be built.

    Raises:
        CheckpointError: Nobody but the file names it, it cannot be imported, or it is no network.
    """
    if name not in classes:
        raise CheckpointError(
            f"{path}: holds a network of the class {name}, which is not this package's, and "
            "nothing is built because a file says so. If it is yours: run=RUN takes it from the "
            f"run's configuration; with {key}, add {key.split('.')[0]}.classes=[{name}]."
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: needs the class {name}, which cannot be imported ({error}); put the folder "
            f"of {module.split('.')[0]}.py on PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise CheckpointError(f"{path}: {name} is no network (torch.nn.Module); change {key}")
    return found
