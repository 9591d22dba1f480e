"""Pickles of TensorFlow networks as NVlabs' ``dnnlib`` writes them, written without either."""

import contextlib
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

MODULE = "dnnlib.tflib.network"


class Network:
    """Stands for a network while it is pickled; only its state counts."""

    def __init__(self, **state: Any) -> None:
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return self.state


def network(
    name: str,
    variables: Mapping[str, Any],
    *,
    function: str,
    settings: Mapping[str, Any] | None = None,
    components: Mapping[str, Network] | None = None,
) -> Network:
    """A network of named variables, scalars as TensorFlow hands them out."""
    return Network(
        version=3,
        name=name,
        static_kwargs=dict(settings or {}),
        components=dict(components or {}),
        build_module_src="raise RuntimeError('source text of a checkpoint was run')",
        build_func_name=function,
        variables=[(key, _value(value)) for key, value in variables.items()],
    )


def write(path: Path, content: Any) -> None:
    """Pickles a tuple of networks, or one."""
    with _as_dnnlib():
        path.write_bytes(pickle.dumps(content, protocol=3))


def _value(value: Any) -> Any:
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float32)
    return np.float32(array) if array.ndim == 0 else array


@contextlib.contextmanager
def _as_dnnlib() -> Iterator[None]:
    """For as long as it takes to pickle, the class answers to the name that the files say."""
    parts = MODULE.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    assert not any(name in sys.modules for name in names)
    home = Network.__module__, Network.__qualname__
    try:
        for name in names:
            sys.modules[name] = types.ModuleType(name)
        sys.modules[MODULE].Network = Network  # type: ignore[attr-defined]
        Network.__module__, Network.__qualname__ = MODULE, "Network"
        yield
    finally:
        Network.__module__, Network.__qualname__ = home
        for name in names:
            del sys.modules[name]
