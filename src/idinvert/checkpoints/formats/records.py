"""Inert records that replace the tensors, arrays and objects of a file while it is read."""

import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from idinvert.errors import CheckpointError
from idinvert.untrusted import shown

# Limits of reading one file; normal files stay far below. Memory, processor time and wall-clock
# time are limited for the process (`child`). These counts limit the size of the answer, which would
# otherwise only be noticed in the parent process.
_VALUES = 1_000_000  # a training checkpoint with its optimizers has 100,000
_NUMBER_KEYS = 8_000  # dict keys whose hashes a file can choose; hashes of text are salted
_CLASSES = 500  # classes of modules; a network has about twenty
_REPEATS = 8  # G, D, G_ema and optimizers may share bytes, but not without limit
_FREE_BYTES = 32 << 20  # size to which a small file may unpack


def answer_bytes(size: int) -> int:
    """Returns how many bytes of tensors, arrays and text a file of ``size`` bytes may unpack to."""
    return _REPEATS * size + _FREE_BYTES


class Budget:
    """Remaining limits, which are counted down while a file is read."""

    def __init__(self) -> None:
        self.start(0)

    def start(self, size: int) -> None:
        """Resets the limits for a file of ``size`` bytes."""
        self.size = size
        self.bytes = answer_bytes(size)
        self.values = _VALUES
        self.number_keys = _NUMBER_KEYS
        self.classes = _CLASSES

    def spend_bytes(self, count: int) -> None:
        """Counts tensors, arrays, text, and decompressed or decoded bytes."""
        self.bytes -= count
        if self.bytes < 0:
            raise CheckpointError(
                f"unpacks to far more data than its {self.size:,} bytes (a bomb, or damaged), "
                "expected about what is in the file"
            )

    def spend_values(self, count: int) -> None:
        """Counts values of the tree; shared values count at every reference."""
        self.values = _left(self.values - count, f"unpacks to more than {_VALUES:,} values")

    def spend_number_keys(self, count: int) -> None:
        """Counts dict keys and set members that are not text."""
        self.number_keys = _left(
            self.number_keys - count, f"has more than {_NUMBER_KEYS:,} dict keys that are not text"
        )

    def spend_classes(self, count: int) -> None:
        """Counts names of classes of modules."""
        self.classes = _left(self.classes - count, f"names more than {_CLASSES} classes of modules")


def _left(count: int, reason: str) -> int:
    if count < 0:
        raise CheckpointError(f"{reason}, expected far fewer of a checkpoint")
    return count


_LATIN = ("latin1", "latin-1", "iso-8859-1")

Buffer = bytes | bytearray | memoryview

_DIMENSIONS = 32
_LARGEST = 1 << 48  # maximum of a size or stride
_NUMBERS = re.compile(r"[<>|=]?(b1|i[1248]|u[1248]|f[248]|c8|c16|[SU]\d{1,6})")
_WORDS = {
    "bool": "b1", "?": "b1", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "float16": "f2",
    "float32": "f4", "float64": "f8", "complex64": "c8", "complex128": "c16",
}  # fmt: skip
_MODULE = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")
_OBJECT = re.compile(r"[<>|=]?O[48]?")

ITEM_BYTES = {
    "float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2,
    "int8": 1, "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Torch's dtypes by name, with the bytes of an element."""

budget = Budget()
"""Budget of the one file that this process reads."""


class Record:
    """Replaces a value. BUILD is refused here, so a file cannot set a record's attributes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise CheckpointError(f"sets the state of a {type(self).__name__}, which has none")


class Name(Record):
    """A global that is named, called or passed on, without the global itself.

    Args:
        module: As in the file.
        name: As in the file.
        call: Function that REDUCE applies to its arguments; None refuses.
        value: Data of the name, such as the dtype of a storage class.
    """

    __slots__ = ("call", "path", "value")

    def __init__(
        self, module: str, name: str, *, call: Callable[..., Any] | None = None, value: str = ""
    ) -> None:
        self.path = f"{module}.{name}"
        self.call = call
        self.value = value

    def __call__(self, *arguments: Any) -> Any:
        """Called by REDUCE."""
        if self.call is None:
            raise CheckpointError(
                f"asks to call {self.path}, which is not on the list of what a checkpoint may do; "
                "it was not run"
            )
        return self.call(*arguments)


class Storage(Record):
    """Memory of tensors.

    Args:
        count: Number of elements.
        dtype: A key of `ITEM_BYTES`.
        data: Its bytes; None until they are read.
    """

    __slots__ = ("count", "data", "dtype")

    def __init__(self, count: Any, dtype: str, data: Buffer | None = None) -> None:
        if type(count) is not int or not 0 <= count < _LARGEST:
            raise CheckpointError(f"declares a storage of {shown(str(count))} elements (damaged)")
        budget.spend_bytes(count * ITEM_BYTES[dtype])
        self.count, self.dtype, self.data = count, dtype, data

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.count * ITEM_BYTES[self.dtype]


class Tensor(Record):
    """A tensor within its storage: offset, size and stride count elements.

    Args:
        storage: The memory.
        dtype: A key of `ITEM_BYTES`.
        offset: Index of the first element.
        size: Size of each dimension.
        stride: Stride of each dimension.

    Raises:
        CheckpointError: Numbers are negative or too large, or elements lie outside the storage.
    """

    __slots__ = ("dtype", "offset", "size", "storage", "stride")

    def __init__(self, storage: Storage, dtype: str, offset: Any, size: Any, stride: Any) -> None:
        listed = isinstance(size, tuple | list) and isinstance(stride, tuple | list)
        numbers = (offset, *size, *stride) if listed else (None,)
        if not all(type(n) is int and 0 <= n <= _LARGEST for n in numbers):
            raise CheckpointError("has a tensor with a negative or absurd offset, size or stride")
        if len(size) != len(stride) or len(size) > _DIMENSIONS:
            raise CheckpointError(f"has a tensor of {len(size)} sizes and {len(stride)} strides")
        count = math.prod(size)
        there = storage.size // ITEM_BYTES[dtype]
        last = sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else -1
        if offset + last >= there or offset > there:
            raise CheckpointError(
                f"has a tensor of {shown(str(tuple(size)))} that reaches element "
                f"{offset + last:,} of a storage of {there:,}"
            )
        budget.spend_values(20)
        budget.spend_bytes(count * ITEM_BYTES[dtype])
        self.storage, self.dtype, self.offset = storage, dtype, offset
        self.size, self.stride = tuple(size), tuple(stride)


class DType(Record):
    """A NumPy dtype of numbers, text or objects.

    Args:
        code: Such as ``"f4"``, ``"<f4"``, ``"O8"``, ``"U5"``.
    """

    __slots__ = ("code",)

    def __init__(self, code: Any, *_: Any) -> None:
        code = _WORDS.get(code, code) if isinstance(code, str) else ""
        if not _NUMBERS.fullmatch(code) and not _OBJECT.fullmatch(code):
            raise CheckpointError(
                f"has an array of dtype {shown(code)}, expected numbers (structured arrays are not "
                "read)"
            )
        self.code = code

    def __setstate__(self, state: Any) -> None:
        """Sets the byte order; fields and subarrays are refused."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in tuple("<>|="):
            raise CheckpointError("has a dtype whose state is not NumPy's (damaged)")
        if any(part not in (None, ()) for part in state[2:5]):
            raise CheckpointError("has an array of a structured dtype, expected numbers")
        self.code = state[1] + self.code.lstrip("<>|=")

    @property
    def objects(self) -> bool:
        """Whether elements are objects."""
        return "O" in self.code

    @property
    def item_bytes(self) -> int:
        """Bytes per element of numbers or text."""
        kind, count = self.code.lstrip("<>|=")[0], int(self.code.lstrip("<>|=")[1:])
        return 4 * count if kind == "U" else count


class Array(Record):
    """A NumPy array, filled when its state is known; with shape ``()`` and `scalar`, a number."""

    __slots__ = ("data", "dtype", "order", "scalar", "shape")

    def __init__(self, what: Any = None, *_: Any) -> None:
        if what is not None and not (isinstance(what, Name) and what.path == "numpy.ndarray"):
            raise CheckpointError(f"has an array of class {shown(what)}, expected numpy.ndarray")
        self.data: Any = None
        self.dtype: DType | None = None
        self.scalar = False

    def __setstate__(self, state: Any) -> None:
        """Reads version, shape, dtype, order and data; old files have no version."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise CheckpointError("has an array whose state is not NumPy's (damaged)")
        shape, dtype, fortran, data = state[-4:]
        self.fill(data, dtype, shape, "F" if fortran else "C")

    def fill(self, data: Any, dtype: Any, shape: Any, order: Any) -> "Array":
        """Checks and sets the parts of an array.

        Raises:
            CheckpointError: The data do not match shape and dtype.
        """
        sizes = shape if isinstance(shape, tuple) and len(shape) <= _DIMENSIONS else (None,)
        if not isinstance(dtype, DType) or order not in ("C", "F"):
            raise CheckpointError("has an array without shape, dtype and order (damaged)")
        if not all(type(size) is int and 0 <= size <= _LARGEST for size in sizes):
            raise CheckpointError(f"has an array of shape {shown(str(shape))} (damaged)")
        if isinstance(data, str) and not dtype.objects:  # how Python 2 wrote bytes
            data = latin_bytes(data, "latin1")
        expected = math.prod(shape) * (1 if dtype.objects else dtype.item_bytes)
        if not isinstance(data, list if dtype.objects else Buffer) or len(data) != expected:
            raise CheckpointError(
                f"has an array of shape {shown(str(shape))} and dtype {dtype.code} with "
                f"{len(data) if hasattr(data, '__len__') else 0:,} bytes or objects, expected "
                f"{expected:,}"
            )
        if not dtype.objects and dtype.item_bytes == 0:
            raise CheckpointError("has an array of text without a length (damaged)")
        budget.spend_values(20)
        budget.spend_bytes(expected)
        self.data, self.dtype, self.shape, self.order = data, dtype, shape, order
        return self

    def nested(self) -> Any:
        """Returns the single object of an object array, or nested lists of its objects."""
        found = self.data
        if self.shape == ():
            return found[0]
        budget.spend_values(math.prod(size or 1 for size in self.shape))
        for size in reversed(self.shape[1:]):
            found = [found[at : at + size] for at in range(0, len(found), size)] if size else []
        return found


class Ordered(dict, Record):  # type: ignore[type-arg]
    """A dict of another class; attributes besides its items (``_metadata``) are dropped."""

    def __init__(self, *arguments: Any) -> None:
        if len(arguments) > 1 or not all(isinstance(a, list | tuple | dict) for a in arguments):
            raise CheckpointError("has a dict that is not made of pairs (damaged)")
        budget.spend_values(2 + (len(arguments[0]) if arguments else 0))
        super().__init__(*arguments)

    def __setstate__(self, state: Any) -> None:
        """Drops the attributes."""


class Default(Ordered):
    """A defaultdict, without its default."""

    def __init__(self, factory: Any = None, *rest: Any) -> None:
        if not isinstance(factory, Name | None):
            raise CheckpointError(f"has a defaultdict of {shown(factory)}, expected a type")
        super().__init__(*rest)


class Attributes(dict, Record):  # type: ignore[type-arg]
    """An object with attributes only, such as argparse.Namespace, as a dict."""

    def __setstate__(self, state: Any) -> None:
        """Stores the attributes as items."""
        if not isinstance(state, dict):
            raise CheckpointError(f"has {shown(state)} as attributes by name, expected a dict")
        budget.spend_values(len(state))
        self.update(state)


class Object(Record):
    """An object whose class is known by name only; see `Stored`."""

    module, name = "torch_utils.persistence", ""
    arguments: Any = ()
    keywords: Any = None
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        """Keeps the state."""
        self.state = state


class Module(Object):
    """Replaces an object whose class is on no list: tensors and submodules of a torch module.

    Every such class is a subclass, because NEWOBJ requires one. A call with arguments, as for
    functions, is refused; so is an object that is not a module, if it is kept.
    """

    path = ""

    def __new__(cls, *arguments: Any, **keywords: Any) -> "Module":
        if arguments or keywords:
            cls.refuse()
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Keeps a module's tensors and submodules; other attributes are dropped unread."""
        if isinstance(state, dict) and {"_parameters", "_modules"} <= state.keys():
            self.state = {name: state[name] for name in _MODULE if name in state}

    def append(self, *_: Any) -> None:
        """Drops the items of a list, set or dict of another class."""

    extend = add = __setitem__ = append

    @classmethod
    def refuse(cls) -> NoReturn:
        """Raises an error, because the name is neither on the list nor a module."""
        raise CheckpointError(
            f"asks for the global {shown(cls.path)}, which is not on the list of names that a "
            "checkpoint may use (tensors, arrays, plain containers, torch modules); it was not run"
        )


def latin_bytes(text: Any, encoding: Any) -> bytes:
    """Decodes bytes that protocol 2 writes as Latin-1 text."""
    if not isinstance(text, str) or encoding not in _LATIN:
        raise CheckpointError(f"asks for the encoding {shown(encoding)}, expected latin1")
    budget.spend_bytes(len(text))
    return text.encode("latin-1")
