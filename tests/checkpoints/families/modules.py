"""Networks as whole modules, as ``torch.save(G)`` and ``pickle.dump(G)`` write them."""

import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.checkpoints.formats.archive import Stored
from tests.checkpoints.hostile.foreign import Persistent, foreign_modules

_HOME = "models.networks"


class Net(nn.Module):
    """A module of a project's own, which no reader has at hand."""

    __module__, __qualname__ = _HOME, "Net"


@contextmanager
def homes() -> Iterator[None]:
    """The modules in which pickled classes live, which exist while files are written alone."""
    own = {name: types.ModuleType(name) for name in ("models", _HOME)}
    own[_HOME].Net = Net  # type: ignore[attr-defined]
    sys.modules.update(own)
    try:
        with foreign_modules():
            yield
    finally:
        for name in own:
            del sys.modules[name]


def whole(network: Mapping[str, Any] | Stored) -> nn.Module:
    """A module with these tensors by dotted name; of NVlabs', with its attributes too."""
    if isinstance(network, Stored):
        return _persistent(network)
    top = Net()
    for name, value in network.items():
        place, (*path, leaf) = top, name.split(".")
        for part in path:
            if part not in dict(place.named_children()):
                place.add_module(part, Net())
            place = place.get_submodule(part)
        _put(place, leaf, value, buffer=not value.is_floating_point() or "noise" in leaf)
    return top


def _persistent(stored: Stored) -> Persistent:
    made = Persistent(stored.name, *stored.arguments, **stored.keywords)
    for name, value in stored.state.items():
        if name in ("_parameters", "_buffers"):
            for leaf, tensor in value.items():
                _put(made, leaf, tensor, buffer=name == "_buffers")
        elif name == "_modules":
            for part, child in value.items():
                made.add_module(part, _persistent(child))
        elif not name.startswith("_") and name != "training":
            setattr(made, name, value)
    return made


def _put(place: nn.Module, name: str, value: Tensor, *, buffer: bool) -> None:
    if buffer:
        place.register_buffer(name, value)
    else:
        place.register_parameter(name, nn.Parameter(torch.as_tensor(value)))
