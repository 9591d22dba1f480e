"""The allow-list: every global that a pickle may name, and its replacement.

`Unpickler.find_class` returns entries of `NAMES`, or an inert `Module` class for any other name, so
REDUCE, NEWOBJ and BUILD only reach functions and classes of this package, which only check data.
"""

from collections.abc import Callable
from typing import Any

from idinvert.checkpoints.formats import records
from idinvert.errors import CheckpointError
from idinvert.untrusted import shown

_DEVICE = 64  # maximum characters
_SCALAR_BYTES = 4_096  # maximum size of a NumPy scalar, text included

_STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
    "Untyped": "uint8",
}  # fmt: skip


def _persistent_object(meta: Any) -> records.Object:
    """Keeps the state of NVlabs' modules; the source text stored with it is not read."""
    state = meta.get("state") if isinstance(meta, dict) else None
    name = meta.get("class_name") if isinstance(meta, dict) else None
    if not isinstance(state, dict) or not isinstance(name, str) or meta.get("type") != "class":
        raise CheckpointError(
            "has a persistent object without a class's name and a state, expected NVlabs' layout"
        )
    found = records.Object()
    found.name, found.state = name, dict(state)
    found.arguments = found.state.pop("_init_args", ())
    found.keywords = found.state.pop("_init_kwargs", {})
    if not isinstance(found.arguments, tuple | list) or not isinstance(found.keywords, dict):
        raise CheckpointError("has a persistent object's arguments that are none (damaged)")
    records.budget.spend_values(4 + len(state) + len(found.arguments))
    found.arguments = tuple(found.arguments)
    return found


def _rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, *more: Any
) -> records.Tensor:
    if not isinstance(storage, records.Storage) or len(more) > 4:
        raise CheckpointError("has a tensor that is not rebuilt as torch writes it (damaged)")
    dtype = storage.dtype
    if len(more) > 2 and isinstance(more[2], records.Name):  # version 3 stores a dtype
        dtype = more[2].value
    if dtype not in records.ITEM_BYTES:
        raise CheckpointError("has a tensor of a type that is none of torch's (damaged)")
    return records.Tensor(storage, dtype, offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> records.Tensor:
    if not isinstance(tensor, records.Tensor):
        raise CheckpointError("has a parameter that is not a tensor (damaged)")
    return tensor


def _typed(rebuild: Any, kind: Any, arguments: Any, _state: Any) -> Any:
    """Returns the tensor of a tensor with attributes, which are dropped."""
    names = [str(getattr(part, "path", "")) for part in (rebuild, kind)]
    if isinstance(rebuild, records.Name) and isinstance(kind, records.Name):
        plain = names[1].rpartition(".")[2] in ("Tensor", "Parameter", "Buffer")
        if plain and rebuild.call in (_rebuild_tensor, _parameter):
            return rebuild(*arguments)
    raise CheckpointError(
        f"has a tensor of a class of its own ({', '.join(map(shown, names))}), expected "
        "torch.Tensor"
    )


def _scalar(dtype: Any, data: Any) -> records.Array:
    """Reads a NumPy scalar, which becomes a Python number or text."""
    fits = isinstance(dtype, records.DType) and isinstance(data, str | records.Buffer)
    if not fits or len(data) > _SCALAR_BYTES:
        raise CheckpointError("has a NumPy number that is not as NumPy writes it (damaged)")
    found = records.Array().fill(data, dtype, (), "C")
    found.scalar = True
    return found


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> records.Array:
    """Reads arrays as written by protocol 5."""
    return records.Array().fill(data, dtype, shape, order)


def _bytes(*arguments: Any) -> Any:
    if arguments and isinstance(arguments[0], str):
        return records.latin_bytes(*arguments)
    if len(arguments) > 1 or not all(isinstance(part, records.Buffer) for part in arguments):
        raise CheckpointError("has bytes that are not given as bytes (damaged)")
    return arguments[0] if arguments else b""


def _members(kind: type) -> Callable[..., Any]:
    def make(members: Any = (), *_: Any) -> Any:
        if not isinstance(members, list | tuple | set | frozenset):
            raise CheckpointError(f"has a {kind.__name__} of {shown(members)} (damaged)")
        records.budget.spend_values(2 + len(members))
        return kind(members)

    return make


def _complex(real: Any, imaginary: Any) -> complex:
    if not isinstance(real, int | float) or not isinstance(imaginary, int | float):
        raise CheckpointError("has a complex number that is not made of numbers (damaged)")
    return complex(real, imaginary)


def _path(*parts: Any) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise CheckpointError("has a path that is not made of text (damaged)")
    records.budget.spend_bytes(sum(map(len, parts)))
    return "/".join(parts).replace("//", "/", 1)


def _device(name: Any, index: Any = None) -> str:
    if not isinstance(name, str) or len(name) > _DEVICE or type(index) not in (int, type(None)):
        raise CheckpointError("has a torch.device that is not given by its name (damaged)")
    return name if index is None else f"{name}:{index}"


def _new_object(what: Any, *arguments: Any) -> Any:
    """Replaces ``copyreg.__newobj__``, by which old protocols call ``__new__``."""
    if not isinstance(what, type) or not issubclass(what, records.Record):
        raise CheckpointError("asks to construct something that is not on the list of names")
    return what(*arguments)


def _reconstruct(what: Any, base: Any, value: Any) -> Any:
    """Replaces ``copyreg._reconstructor`` of protocols 0 and 1; ``value`` is that of the base."""
    if not isinstance(base, records.Name) or base.path.rpartition(".")[2] not in ("object", "dict"):
        raise CheckpointError("asks to construct something that is not on the list of names")
    return _new_object(what, *([value] if isinstance(value, dict) else []))


def _table() -> dict[tuple[str, str], Any]:
    ordered = {
        "collections": ("OrderedDict", "Counter"), "dnnlib.util": ("EasyDict",),
        "dnnlib": ("EasyDict",), "easydict": ("EasyDict",),
        "pytorch_lightning.utilities.parsing": ("AttributeDict",),
        "lightning.pytorch.utilities.parsing": ("AttributeDict",),
        "lightning_fabric.utilities.data": ("AttributeDict",),
    }  # fmt: skip
    found: dict[tuple[str, str], Any] = {
        (module, name): records.Ordered for module, names in ordered.items() for name in names
    }
    found["collections", "defaultdict"] = records.Default
    found["argparse", "Namespace"] = records.Attributes
    for module in ("dnnlib.tflib.network", "dnnlib.tflib", "tfutil"):
        network = {"module": module, "name": "Network"}
        found[module, "Network"] = type("Network", (records.Object,), network)
    calls: dict[str, Callable[..., Any]] = {
        "collections.deque": _members(list),
        "_codecs.encode": records.latin_bytes,
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._tensor._rebuild_from_type_v2": _typed,
        "torch.Size": _members(tuple),
        "torch.device": _device,
        "numpy.dtype": records.DType,
    }
    for module in ("builtins", "__builtin__"):
        calls |= {f"{module}.{name}": _members(set) for name in ("set", "frozenset")}
        calls |= {f"{module}.{name}": _bytes for name in ("bytes", "bytearray")}
        calls[f"{module}.complex"] = _complex
    for module in ("copyreg", "copy_reg"):
        calls[f"{module}._reconstructor"] = _reconstruct
        calls[f"{module}.__newobj__"] = _new_object
    for module in ("pathlib", "pathlib._local"):
        for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
            calls[f"{module}.{name}"] = _path
    for core in ("numpy.core", "numpy._core"):
        calls[f"{core}.multiarray._reconstruct"] = records.Array
        calls[f"{core}.multiarray.scalar"] = _scalar
        calls[f"{core}.numeric._frombuffer"] = _from_buffer
    for path, call in calls.items():
        module, _, name = path.rpartition(".")
        found[module, name] = records.Name(module, name, call=call)
    values = {("torch", dtype): dtype for dtype in records.ITEM_BYTES} | STORAGES
    inert = ["object", "dict", "list", "tuple", "str", "int", "float", "bool", "unicode", "long"]
    values |= {(module, name): "" for module in ("builtins", "__builtin__") for name in inert}
    values |= {("torch", "Tensor"): "", ("torch._tensor", "Tensor"): "", ("numpy", "ndarray"): ""}
    values |= {("torch.nn.parameter", name): "" for name in ("Parameter", "Buffer")}
    return found | {key: records.Name(*key, value=value) for key, value in values.items()}


STORAGES = {
    (module, f"{kind}Storage"): dtype
    for module in ("torch", "torch.cuda", "torch.storage")
    for kind, dtype in _STORAGES.items()
}
"""The storage classes, with the dtype of their elements."""

NAMES = _table()
"""Replacements by module and name. Any other name must be a torch module's class, or is refused."""
