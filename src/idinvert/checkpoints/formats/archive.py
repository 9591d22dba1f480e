"""The content of a checkpoint file as plain data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from idinvert.errors import CheckpointError
from idinvert.untrusted import shown

Kind = Literal["safetensors", "torch_zip", "torch_legacy", "pickle", "npy", "npz"]

PERSISTENT = "torch_utils.persistence"
"""Module in which NVlabs' modules say their class is defined."""
_DEPTH = 64  # maximum nesting of modules
_NAME = 500  # maximum characters of a dotted name; one module may occur below several others


@dataclass
class Stored:
    """An object of the file that is not plain data: its class by name, its state as data.

    Args:
        module: Module of its class: ``"torch_utils.persistence"`` for NVlabs' persistent objects,
            ``"dnnlib.tflib.network"`` for TensorFlow networks.
        name: Its class: ``"Generator"``, ``"SynthesisLayer"``, ``"Network"``.
        arguments: Positional arguments of its constructor, if the file contains them.
        keywords: Keyword arguments of its constructor, if the file contains them.
        state: Its attributes, a dict by name. Source text stored with the object is dropped.
    """

    module: str
    name: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True)
class Archive:
    """A file's content: a finite tree, at most 128 deep, that owns its memory.

    Args:
        kind: The container.
        path: The file.
        content: dict, list, tuple, set, str, bytes, numbers, None, `torch.Tensor` (on the CPU, no
            gradients), `numpy.ndarray` (numbers only, writable) and `Stored`. Subclasses of dict,
            such as OrderedDict, EasyDict or argparse.Namespace, are plain dicts. A pickled
            ``.npy`` of one object is that object; ``.npz`` and safetensors are a dict by name.
        metadata: The text entries of a safetensors header.
        given: Settings of the networks given by the user, such as ``final_tanh``.
    """

    kind: Kind
    path: Path
    content: Any
    metadata: dict[str, str] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)


def with_state_dicts(content: Any, *, depth: int = 3) -> Any:
    """Replaces every torch module in the content by its state dict.

    NVlabs' modules are kept, because their attributes contain constructor arguments. A wrapper of
    torch's DataParallel is removed.

    Raises:
        CheckpointError: An object looks like a module but is not one.
    """
    if isinstance(content, Stored) and isinstance(content.state, dict):
        parts = content.state.get("_modules")
        if isinstance(parts, dict) and list(parts) == ["module"]:
            return with_state_dicts(parts["module"], depth=depth)
        module = "_parameters" in content.state and content.module != PERSISTENT
        return flat_tensors(content) if module else content
    if isinstance(content, dict) and depth:
        return {name: with_state_dicts(part, depth=depth - 1) for name, part in content.items()}
    return content


def flat_tensors(stored: Stored) -> dict[str, Tensor]:
    """Returns the state dict of a stored torch module: parameters and buffers by dotted name.

    Args:
        stored: A module; its ``state`` has ``_parameters``, ``_buffers`` and ``_modules``.

    Returns:
        Name to tensor in the order of registration, without buffers registered as not persistent.

    Raises:
        CheckpointError: It is not a module.
    """
    found: dict[str, Tensor] = {}
    _collect(stored, found, prefix="", depth=0)
    return found


def _collect(stored: Any, found: dict[str, Tensor], *, prefix: str, depth: int) -> None:
    state = stored.state if isinstance(stored, Stored) else None
    if not isinstance(state, dict) or depth > _DEPTH:
        what = type(stored).__name__ if not isinstance(stored, Stored) else stored.name
        raise CheckpointError(
            f"expected a stored torch module at {prefix or 'the top'!r}, got {what}"
        )
    hidden = state.get("_non_persistent_buffers_set", set())
    if not isinstance(hidden, set):
        raise CheckpointError(f"expected a set of buffer names at {prefix or 'the top'!r}")
    for group in ("_parameters", "_buffers"):
        for name, value in _named(state, group, prefix=prefix):
            if value is None or (group == "_buffers" and name in hidden):
                continue
            if not isinstance(value, Tensor):
                raise CheckpointError(
                    f"expected a tensor at {prefix + name!r}, got {type(value).__name__}"
                )
            found[prefix + name] = value
    for name, value in _named(state, "_modules", prefix=prefix):
        if value is not None:
            _collect(value, found, prefix=f"{prefix}{name}.", depth=depth + 1)


def _named(state: dict[Any, Any], group: str, *, prefix: str) -> list[tuple[str, Any]]:
    entries = state.get(group, {})
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise CheckpointError(f"expected names to values in {group} of {prefix or 'the top'!r}")
    if long := [name for name in entries if len(prefix) + len(name) > _NAME]:
        raise CheckpointError(
            f"the name {shown(prefix + long[0])} has more than {_NAME} characters"
        )
    return list(entries.items())
