"""A bundle is a folder of weight files named by role: a run's, or one that is shipped."""

from pathlib import Path
from typing import Any

from idinvert.errors import CheckpointError
from idinvert.weights.assets import asset
from idinvert.weights.perceptual import attribute_features
from idinvert.weights.release import load_network

SHIPPED = "shipped:"


def find_weights(path: str, *, role: str, key: str) -> Path:
    """The file of one network.

    Args:
        path: A ``.safetensors`` file, a run's folder, a folder holding ``<role>.safetensors``, or
            ``shipped:<name>`` for one that comes with this package.
        role: ``"generator"``, ``"discriminator"``, ``"encoder"`` or ``"attributes"``.
        key: The configuration key that gave ``path``, for the error.

    Raises:
        CheckpointError: Nothing of that role is there.
    """
    if path.startswith(SHIPPED):
        return asset(f"{path.removeprefix(SHIPPED)}/{role}.safetensors")
    given = Path(path).expanduser()
    if given.is_file():
        return given
    for folder in (given, given / "weights"):
        if (folder / f"{role}.safetensors").is_file():
            return folder / f"{role}.safetensors"
    kind = "has no" if given.is_dir() else "does not exist, so it has no"
    raise CheckpointError(
        f"{key}={path} {kind} {role}.safetensors. Give {key} a weights file, the folder of a "
        f"finished run, or shipped:faces_mini."
    )


def open_network(path: str, *, role: str, key: str) -> Any:
    """Loads one network of a bundle, frozen and in evaluation mode."""
    return load_network(find_weights(path, role=role, key=key), expect=role, key=key)


def open_features(path: str, *, key: str) -> Any:
    """The attribute network of a bundle as F of the perceptual term."""
    return attribute_features(find_weights(path, role="attributes", key=key), key=key)


def sibling(path: str, *, role: str, of: str, key: str) -> Path | None:
    """The file of another role beside the one that ``path`` leads to, if there is one.

    Args:
        path: As in :func:`find_weights`.
        role: The role wanted.
        of: The role that ``path`` was given for.
        key: The configuration key that gave ``path``.
    """
    beside = find_weights(path, role=of, key=key).with_name(f"{role}.safetensors")
    return beside if beside.is_file() else None
