"""Names of NumPy that a pickle may use: arrays, dtypes and scalars, as copies of checked bytes."""

import math
import re
from typing import Any

import numpy as np

from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.checkpoints.formats.machine import Name
from idinvert.checkpoints.formats.plain import StandIn
from idinvert.errors import CheckpointError

_NUMBERS = re.compile(r"b1|i[1248]|u[1248]|f[248]|c8|c16")
_WORDS = {
    "bool": "b1", "?": "b1", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "float16": "f2",
    "float32": "f4", "float64": "f8", "complex64": "c8", "complex128": "c16",
}  # fmt: skip
_TEXT = re.compile(r"[SU](\d{1,6})")
_OBJECT = re.compile(r"O[48]?")
_DIMENSIONS = 32
_SCALAR_BYTES = 4_096  # text included


class DType(StandIn):
    """A dtype by its code; the byte order comes with its state.

    Args:
        code: Such as ``"f4"``, ``"<f4"``, ``"O8"``, ``"U5"``.
    """

    def __init__(self, code: str) -> None:
        order, kind = (code[0], code[1:]) if code[:1] in tuple("<>|=") else ("=", code)
        kind = _WORDS.get(kind, kind)
        self.order = order
        self.kind = kind
        self.is_object = _OBJECT.fullmatch(kind) is not None
        self.is_text = _TEXT.fullmatch(kind) is not None
        if not (self.is_object or self.is_text or _NUMBERS.fullmatch(kind)):
            raise CheckpointError(
                f"has an array of dtype {shown(code)}, expected numbers (structured arrays are not "
                "read)"
            )

    def build(self, state: Any, budget: Budget) -> None:
        """Takes the byte order; fields and subarrays are refused."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in tuple("<>|="):
            raise CheckpointError("has a dtype whose state is not NumPy's (damaged)")
        if any(part not in (None, ()) for part in state[2:5]):
            raise CheckpointError("has an array of a structured dtype, expected numbers")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        """The dtype of numbers or text; objects have none."""
        if self.is_object:
            raise CheckpointError("has objects where an array's bytes are expected (damaged)")
        return np.dtype(self.order + self.kind)

    def resolve(self, budget: Budget) -> str:
        """Its name."""
        return "object" if self.is_object else self.numpy().name


class PickledArray(StandIn):
    """An array until its state is known."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] | None = None
        self.dtype: Any = None
        self.order = "C"
        self.data: Any = None

    def build(self, state: Any, budget: Budget) -> None:
        """Takes version, shape, dtype, order and data, as NumPy writes them."""
        if isinstance(state, tuple) and len(state) == 4:  # before versions were written
            state = (0, *state)
        if not isinstance(state, tuple) or len(state) != 5:
            raise CheckpointError("has an array whose state is not NumPy's (damaged)")
        _, shape, dtype, fortran, data = state
        self.fill(shape=shape, dtype=dtype, order="F" if fortran else "C", data=data)

    def fill(self, *, shape: Any, dtype: Any, order: str, data: Any) -> None:
        """Checks what an array is made of."""
        if not isinstance(dtype, DType) or not isinstance(shape, tuple):
            raise CheckpointError("has an array without shape and dtype (damaged)")
        check_shape(shape)
        self.shape, self.dtype, self.order, self.data = shape, dtype, order, data

    def resolve(self, budget: Budget) -> Any:
        """The array, in this machine's byte order; objects as the object, or in nested lists."""
        if self.shape is None:
            raise CheckpointError("has an array that was never filled (damaged)")
        if self.dtype.is_object:
            return _objects(self.data, self.shape, budget)
        data = self.data.encode("latin-1") if isinstance(self.data, str) else self.data
        if not isinstance(data, bytes | memoryview):
            raise CheckpointError(f"has {shown(data)} as an array's bytes (damaged)")
        return array(data, shape=self.shape, dtype=self.dtype, order=self.order, budget=budget)


class PickledScalar(StandIn):
    """A NumPy scalar, which becomes Python's number."""

    def __init__(self, dtype: DType, data: Any) -> None:
        self.dtype = dtype
        if not isinstance(data, str | bytes | memoryview) or len(data) > _SCALAR_BYTES:
            raise CheckpointError("has a NumPy number that is not as NumPy writes it (damaged)")
        self.data = data.encode("latin-1") if isinstance(data, str) else data

    def resolve(self, budget: Budget) -> Any:
        """The number."""
        found = array(self.data, shape=(), dtype=self.dtype, order="C", budget=budget)
        return found if self.dtype.is_text else found.item()


def array(
    data: bytes | memoryview, *, shape: tuple[int, ...], dtype: DType, order: Any, budget: Budget
) -> Any:
    """A writable copy of an array's bytes.

    Args:
        data: Exactly the bytes of the array.
        shape: Already checked.
        dtype: Numbers or text.
        order: ``"C"`` or ``"F"``.
        budget: Pays for the bytes.

    Returns:
        `numpy.ndarray` in native byte order; an array of text as nested lists.

    Raises:
        CheckpointError: The bytes are not as many as shape and dtype say.
    """
    kind = dtype.numpy()
    expected = math.prod(shape) * kind.itemsize
    if kind.itemsize == 0 or len(data) != expected:
        raise CheckpointError(
            f"has an array of shape {shown(str(shape))} and dtype {kind.name} with "
            f"{len(data):,} bytes, expected {expected:,}"
        )
    budget.spend_bytes(expected)
    budget.spend_steps(10)
    if kind == np.bool_:  # a byte that is neither 0 nor 1 is no bool
        return np.ndarray(shape, np.uint8, buffer=data, order=order) != 0
    found = np.ndarray(shape, kind, buffer=data, order=order)
    if dtype.is_text:
        budget.spend_steps(found.size)
        return np.char.decode(found, "latin-1").tolist() if kind.kind == "S" else found.tolist()
    return found.astype(kind.newbyteorder("="), order="C", copy=True)


def check_shape(shape: tuple[Any, ...]) -> None:
    """Refuses what is no shape of an array.

    Raises:
        CheckpointError: Not integers, negative, or too many.
    """
    if len(shape) > _DIMENSIONS or not all(type(size) is int and size >= 0 for size in shape):
        raise CheckpointError(f"has an array of shape {shown(str(shape))} (damaged)")


def _objects(data: Any, shape: tuple[int, ...], budget: Budget) -> Any:
    """An object array: its one object, or nested lists of them; never an array."""
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise CheckpointError("has an object array whose list does not fit its shape (damaged)")
    budget.spend_steps(len(data) + math.prod(size or 1 for size in shape))
    if shape == ():
        return data[0]
    for size in reversed(shape[1:]):
        data = [data[at : at + size] for at in range(0, len(data), size)] if size else []
    return data


def _dtype(arguments: tuple[Any, ...], budget: Budget) -> DType:
    budget.spend_steps(2)
    if not 1 <= len(arguments) <= 3 or not isinstance(arguments[0], str):
        raise CheckpointError("has a dtype that is not given by its code (damaged)")
    return DType(arguments[0])


def _reconstruct(arguments: tuple[Any, ...], budget: Budget) -> PickledArray:
    budget.spend_steps(4)
    what = arguments[0] if len(arguments) == 3 else None
    if not isinstance(what, Name) or what.path != "numpy.ndarray":
        raise CheckpointError(f"has an array of class {shown(what)}, expected numpy.ndarray")
    return PickledArray()


def _from_buffer(arguments: tuple[Any, ...], budget: Budget) -> PickledArray:
    """How protocol 5 writes arrays."""
    budget.spend_steps(4)
    if len(arguments) != 4 or arguments[3] not in ("C", "F"):
        raise CheckpointError("has an array of protocol 5 that is not as NumPy writes it")
    data, dtype, shape, order = arguments
    found = PickledArray()
    found.fill(shape=shape, dtype=dtype, order=order, data=data)
    return found


def _scalar(arguments: tuple[Any, ...], budget: Budget) -> PickledScalar:
    budget.spend_steps(4)
    if len(arguments) != 2 or not isinstance(arguments[0], DType) or arguments[0].is_object:
        raise CheckpointError("has a NumPy number that is not as NumPy writes it (damaged)")
    return PickledScalar(arguments[0], arguments[1])


def _table() -> dict[tuple[str, str], Name]:
    entries = [
        Name("numpy", "dtype", call=_dtype),
        Name("numpy", "ndarray"),
    ]
    for core in ("numpy.core", "numpy._core"):
        entries += [
            Name(f"{core}.multiarray", "_reconstruct", call=_reconstruct),
            Name(f"{core}.multiarray", "scalar", call=_scalar),
            Name(f"{core}.numeric", "_frombuffer", call=_from_buffer),
        ]
    return {(entry.module, entry.name): entry for entry in entries}


ARRAYS = _table()
"""By module and name."""
