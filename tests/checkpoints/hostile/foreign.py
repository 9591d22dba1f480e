"""Pickles as NVlabs' code writes them, from stand-ins for its modules that exist while writing."""

import copyreg
import io
import pickle
import struct
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from idinvert.checkpoints.formats.archive import Stored

SOURCE = "import os\nopen('written-by-module-source', 'w').write('x')\nraise SystemExit\n"
"""What stands in for the module's text that NVlabs' files carry; running it would show."""


@contextmanager
def foreign_modules() -> Iterator[tuple[Any, Any, Any]]:
    """``dnnlib``'s EasyDict and Network, and ``torch_utils``' reconstruct function, importable."""
    names = ("dnnlib", "dnnlib.util", "dnnlib.tflib", "dnnlib.tflib.network", "torch_utils",
             "torch_utils.persistence")  # fmt: skip
    modules = {name: types.ModuleType(name) for name in names}
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    network = type("Network", (), {"__module__": "dnnlib.tflib.network"})

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        raise AssertionError("a file's source must never be rebuilt")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    modules["dnnlib.util"].EasyDict = easy  # type: ignore[attr-defined]
    modules["dnnlib.tflib.network"].Network = network  # type: ignore[attr-defined]
    modules["torch_utils.persistence"]._reconstruct_persistent_obj = (  # type: ignore[attr-defined]
        _reconstruct_persistent_obj
    )
    sys.modules.update(modules)
    try:
        yield easy, network, _reconstruct_persistent_obj
    finally:
        for name in names:
            del sys.modules[name]


class Persistent(nn.Module):
    """A module that pickles as NVlabs' persistent classes do."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.class_name = name
        self._init_args = args
        self._init_kwargs = kwargs

    def __reduce__(self) -> Any:
        rebuild = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj  # type: ignore[attr-defined]
        state = {key: value for key, value in self.__dict__.items() if key != "class_name"}
        return rebuild, (_meta(self.class_name, state),), None


def tiny_generator(seed: int = 0) -> Persistent:
    """A module with the parts that NVlabs' generators have, by kind; not their architecture."""
    rng = torch.Generator().manual_seed(seed)
    mapping = Persistent("MappingNetwork", 4, 0, 4, num_ws=2)
    layer = Persistent("FullyConnectedLayer", 4, 4, activation="lrelu")
    layer.weight = nn.Parameter(torch.randn(4, 4, generator=rng))
    layer.bias = nn.Parameter(torch.zeros(4))
    layer.weight_gain = 0.01 / np.sqrt(4)  # a NumPy scalar, as in the real files
    mapping.fc0 = layer
    mapping.register_buffer("w_avg", torch.randn(4, generator=rng))
    generator = Persistent("Generator", 4, 0, 4, 8, 3, mapping_kwargs={"num_layers": 1})
    generator.mapping = mapping
    generator.register_buffer("filter", torch.ones(4, 4).t())
    generator.register_buffer("scratch", torch.zeros(2), persistent=False)
    generator.bias = None
    return generator


def pickled(content: Any, *, protocol: int = 4) -> bytes:
    """Pickles plain data in which `Stored` objects stand as NVlabs' code would write them."""

    class Writer(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if type(value) is not Stored:
                return NotImplemented
            state = dict(value.state)
            if value.module == "dnnlib.tflib.network":
                made = (network, object, None)
                return copyreg._reconstructor, made, state | {"build_module_src": SOURCE}  # type: ignore[attr-defined]
            state |= {"_init_args": value.arguments, "_init_kwargs": value.keywords}
            return rebuild, (_meta(value.name, state),)

    buffer = io.BytesIO()
    with foreign_modules() as (_, network, rebuild):
        Writer(buffer, protocol).dump(content)
    return buffer.getvalue()


def _meta(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "class", "version": 6, "module_src": SOURCE, "class_name": name, "state": state,
    }  # fmt: skip


def nvlabs_pickle(content: dict[str, Any] | None = None, *, protocol: int = 4) -> bytes:
    """A network snapshot of NVlabs' PyTorch code."""
    with foreign_modules() as (easy, _, _):
        options = easy(class_name="training.dataset.ImageFolderDataset", resolution=8)
        made = content or {"G": tiny_generator(), "G_ema": tiny_generator(1), "D": None}
        return pickle.dumps({"training_set_kwargs": options, **made}, protocol)


def tensorflow_pickle(count: int = 3, *, protocol: int = 4, python2: bool = False) -> bytes:
    """A tuple of TensorFlow networks of NVlabs' dnnlib; ``python2`` writes bytes as its ``str``."""
    with foreign_modules() as (easy, network, _):
        rng = np.random.default_rng(0)
        networks = []
        for index in range(count):
            made = network()
            made.__dict__.update(
                version=3,
                name=f"net{index}",
                static_kwargs=easy(num_channels=3, resolution=8, func_name="networks.G"),
                components=easy(),
                build_module_src=SOURCE,
                build_func_name="G_style",
                variables=[
                    ("lod", np.float32(0)),
                    ("4x4/Const/const", rng.standard_normal((1, 4, 4, 4)).astype(np.float32)),
                    ("4x4/Conv/bias", np.zeros(400, np.float32)),
                ],
            )
            networks.append(made)
        return _python2(tuple(networks)) if python2 else pickle.dumps(tuple(networks), protocol)


def _python2(value: Any) -> bytes:
    """Protocol 2 with ``str`` where Python 2 had it: for text and for an array's bytes."""

    class Writer(pickle._Pickler):  # type: ignore[name-defined, misc]
        dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]  # noqa: RUF012

        def save_old(self, value: Any) -> None:
            raw = value.encode("latin-1") if isinstance(value, str) else value
            short = len(raw) < 256
            self.write(b"U" + bytes([len(raw)]) if short else b"T" + struct.pack("<i", len(raw)))
            self.write(raw)
            self.memoize(value)

        dispatch[str] = save_old
        dispatch[bytes] = save_old

    buffer = io.BytesIO()
    Writer(buffer, 2).dump(value)
    return buffer.getvalue()
