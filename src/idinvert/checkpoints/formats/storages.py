"""Names of torch that a pickle may use: storages, and tensors that must lie inside them."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.checkpoints.formats.machine import Name
from idinvert.checkpoints.formats.plain import StandIn
from idinvert.errors import CheckpointError

_DIMENSIONS = 16
_LARGEST = 1 << 48  # of a size or stride
_NAME = 64  # characters of a device
_TENSOR_STEPS = 20  # a tensor weighs more than a number

_TYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
    "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip


class Storage(StandIn):
    """Memory that tensors look at, and the type its file gives it.

    Args:
        memory: Its bytes.
        dtype: Of its elements.
    """

    def __init__(self, memory: torch.UntypedStorage, dtype: torch.dtype) -> None:
        self.memory = memory
        self.dtype = dtype

    def resolve(self, budget: Budget) -> Tensor:
        """All of it, as a vector."""
        count = self.memory.nbytes() // self.dtype.itemsize
        return place(self, offset=0, size=(count,), stride=(1,), budget=budget).resolve(budget)


class PickledTensor(StandIn):
    """A tensor whose place was checked, until its storage is filled. Made by `place`."""

    def __init__(
        self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        self.storage = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    def resolve(self, budget: Budget) -> Tensor:
        """A view; a copy of its own where elements share memory (a tensor that was expanded)."""
        dtype = self.storage.dtype
        if math.prod(self.size) == 0:
            return torch.empty(self.size, dtype=dtype)
        is_bool = dtype == torch.bool
        found = torch.empty(0, dtype=torch.uint8 if is_bool else dtype)
        found.set_(self.storage.memory, self.offset, self.size, self.stride)  # type: ignore[call-overload]
        if is_bool:  # a byte that is neither 0 nor 1 is no bool
            return found.ne(0)
        if _overlaps(self.size, self.stride):
            return found.clone(memory_format=torch.contiguous_format)
        return found


def place(
    storage: Storage, *, offset: Any, size: Any, stride: Any, budget: Budget
) -> PickledTensor:
    """A tensor that lies inside its storage.

    Args:
        storage: The memory.
        offset: First element.
        size: As the file says it.
        stride: As the file says it, in elements.
        budget: Pays for the tensor's bytes.

    Raises:
        CheckpointError: Negative or absurd numbers, or elements outside the storage.
    """
    numbers = (offset, *size, *stride) if _tuples(size, stride) else (None,)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise CheckpointError("has a tensor with a negative or missing offset, size or stride")
    if len(size) != len(stride) or len(size) > _DIMENSIONS:
        raise CheckpointError(f"has a tensor of {len(size)} sizes and {len(stride)} strides")
    count = math.prod(size)
    there = storage.memory.nbytes() // storage.dtype.itemsize
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else -1
    if offset + last >= there or offset > there or max((*size, *stride, 0)) > _LARGEST:
        raise CheckpointError(
            f"has a tensor of {shown(str(tuple(size)))} that reaches element {offset + last:,} of "
            f"a storage of {there:,}"
        )
    budget.spend_steps(_TENSOR_STEPS)
    budget.spend_bytes(count * storage.dtype.itemsize)
    return PickledTensor(storage, offset, tuple(size), tuple(stride))


def allocate(numel: Any, dtype: torch.dtype, *, limit: int, budget: Budget) -> Storage:
    """Memory for a storage that its file declares; the caller fills all of it.

    Args:
        numel: Elements, as the file says it.
        dtype: Of the elements.
        limit: Bytes that the file has left for it.
        budget: Pays for the bytes.

    Raises:
        CheckpointError: More than the file can hold.
    """
    if type(numel) is not int or numel < 0 or numel * dtype.itemsize > limit:
        raise CheckpointError(
            f"declares a storage of {shown(str(numel))} elements of {dtype}, but only {limit:,} "
            "bytes are left (truncated or damaged)"
        )
    budget.spend_steps(_TENSOR_STEPS)
    budget.spend_bytes(numel * dtype.itemsize)
    try:
        memory = torch.UntypedStorage(numel * dtype.itemsize)
    except RuntimeError as error:  # which is how torch says it
        raise MemoryError from error
    return Storage(memory, dtype)


def buffer(storage: Storage) -> memoryview:
    """The bytes of a storage, to write to."""
    flat = torch.empty(0, dtype=torch.uint8).set_(storage.memory)  # type: ignore[call-overload]
    return memoryview(flat.numpy().data)


def storage_type(identity: Any, *, least: int, most: int) -> tuple[torch.dtype, str, Any]:
    """Type, key and number of elements of a storage's persistent id.

    Args:
        identity: ``("storage", class, key, location, numel, ...)``.
        least: Entries it has at least.
        most: Entries it has at most.

    Raises:
        CheckpointError: It is anything else.
    """
    if isinstance(identity, tuple) and least <= len(identity) <= most:
        what, kind, key, _, numel = identity[:5]
        dtype = kind.value if isinstance(kind, Name) and "Storage" in kind.name else None
        if what == "storage" and isinstance(dtype, torch.dtype) and isinstance(key, str):
            return dtype, key, numel
    raise CheckpointError("refers to an object outside its pickle that is no storage; not followed")


def _tuples(*values: Any) -> bool:
    return all(isinstance(value, tuple | list) for value in values)


def _overlaps(size: Any, stride: Any) -> bool:
    """Whether elements may share memory: strides, from the smallest, must step over the last."""
    reach = 0
    for step, count in sorted(zip(stride, size, strict=True)):
        if count > 1:
            if step <= reach:
                return True
            reach += (count - 1) * step
    return False


def _tensor(least: int, most: int) -> Callable[[tuple[Any, ...], Budget], PickledTensor]:
    def rebuild(arguments: tuple[Any, ...], budget: Budget) -> PickledTensor:
        given = isinstance(arguments[0] if arguments else None, Storage)
        if not least <= len(arguments) <= most or not given:
            raise CheckpointError("has a tensor that is not rebuilt as torch writes it (damaged)")
        storage, offset, size, stride = arguments[:4]
        if len(arguments) > 6 and isinstance(arguments[6], Name):  # version 3 brings a dtype
            storage = Storage(storage.memory, _dtype_of(arguments[6]))
        return place(storage, offset=offset, size=size, stride=stride, budget=budget)

    return rebuild


def _dtype_of(name: Name) -> torch.dtype:
    if not isinstance(name.value, torch.dtype):
        raise CheckpointError(f"has {name.path} as a tensor's dtype (damaged)")
    return name.value


def _parameter(arguments: tuple[Any, ...], budget: Budget) -> PickledTensor:
    if not 1 <= len(arguments) <= 4 or not isinstance(arguments[0], PickledTensor):
        raise CheckpointError("has a parameter that is no tensor (damaged)")
    return arguments[0]


def _typed(arguments: tuple[Any, ...], budget: Budget) -> PickledTensor:
    """A tensor with attributes; only the tensor is kept."""
    rebuild = arguments[0] if len(arguments) == 4 else None
    if not isinstance(rebuild, Name) or (rebuild.module, rebuild.name) not in _REBUILD:
        raise CheckpointError("has a tensor of a class of its own, expected torch.Tensor")
    if not isinstance(arguments[1], Name) or arguments[1].name not in _TENSOR_CLASSES:
        raise CheckpointError("has a tensor of a class of its own, expected torch.Tensor")
    if not isinstance(arguments[2], tuple):
        raise CheckpointError("has a tensor that is not rebuilt as torch writes it (damaged)")
    return _REBUILD[rebuild.module, rebuild.name](arguments[2], budget)


def _size(arguments: tuple[Any, ...], budget: Budget) -> tuple[Any, ...]:
    if len(arguments) != 1 or not isinstance(arguments[0], tuple | list):
        raise CheckpointError("has a torch.Size that is no tuple (damaged)")
    budget.spend_steps(len(arguments[0]))
    return tuple(arguments[0])


def _device(arguments: tuple[Any, ...], budget: Budget) -> str:
    name, index = (*arguments, None)[:2] if arguments else (None, None)
    if not isinstance(name, str) or len(name) > _NAME or type(index) not in (int, type(None)):
        raise CheckpointError("has a torch.device that is not given by its name (damaged)")
    return name if index is None else f"{name}:{index}"


def _storages() -> dict[tuple[str, str], Name]:
    names = [
        Name(module, f"{kind}Storage", value=dtype)
        for module in ("torch", "torch.cuda")
        for kind, dtype in _TYPES.items()
    ]
    names += [
        Name("torch.storage", "UntypedStorage", value=torch.uint8),
        Name("torch", "UntypedStorage", value=torch.uint8),
    ]
    return {(name.module, name.name): name for name in names}


def _tensors() -> dict[tuple[str, str], Name]:
    names = [Name(*path, call=call) for path, call in _REBUILD.items()]
    names += [Name("torch", str(dtype).split(".")[1], value=dtype) for dtype in _TYPES.values()]
    names += [
        Name("torch", "Tensor"),
        Name("torch._tensor", "Tensor"),
        Name("torch.nn.parameter", "Parameter"),
        Name("torch.nn.parameter", "Buffer"),
        Name("torch._tensor", "_rebuild_from_type_v2", call=_typed),
        Name("torch", "Size", call=_size, new=_size),
        Name("torch", "device", call=_device),
    ]
    return STORAGES | {(name.module, name.name): name for name in names}


_TENSOR_CLASSES = ("Tensor", "Parameter", "Buffer")
_REBUILD: dict[tuple[str, str], Callable[[tuple[Any, ...], Budget], PickledTensor]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor(4, 4),
    ("torch._utils", "_rebuild_tensor_v2"): _tensor(5, 7),
    ("torch._utils", "_rebuild_tensor_v3"): _tensor(7, 8),
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}

STORAGES = _storages()
"""The storage classes; all that a storage inside a pickle may name."""

TENSORS = _tensors()
"""Storages, and what rebuilds tensors on them; by module and name."""
