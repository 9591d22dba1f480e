"""NumPy's files: ``.npy`` with numbers or with pickled objects, and ``.npz``."""

import mmap
import re
from typing import Any

from idinvert.checkpoints.formats import zip_directory
from idinvert.checkpoints.formats.arrays import DType, PickledArray, array, check_shape
from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.checkpoints.formats.machine import Machine
from idinvert.checkpoints.formats.names import ALL
from idinvert.checkpoints.formats.opcodes import run
from idinvert.checkpoints.formats.plain import plain
from idinvert.checkpoints.formats.zip_directory import Member
from idinvert.errors import CheckpointError

MAGIC = b"\x93NUMPY"

_SUFFIX = ".npy"
_HEADER = 4_096  # bytes; NumPy's are 118
_FIELDS = re.compile(
    r"\{'descr': '([^']{1,16})', 'fortran_order': (True|False), "
    r"'shape': \(([\d ,L]{0,512})\),? ?\}[ \n]*"
)  # a literal, not evaluated; NumPy writes its keys in this order
_SIZE = re.compile(r"(\d{1,15})L?")  # Python 2 wrote long integers with an L


def is_npz(members: dict[str, Member]) -> bool:
    """Whether a zip's files are those of ``.npz``."""
    return bool(members) and all(name.endswith(_SUFFIX) for name in members)


def read_npz(data: memoryview | mmap.mmap, members: dict[str, Member], *, budget: Budget) -> Any:
    """Arrays by name.

    Raises:
        CheckpointError: As `read_npy`, or the zip is damaged or a bomb.
    """
    found = {}
    for name, member in members.items():
        raw = memoryview(zip_directory.content(data, member, budget=budget))
        try:
            found[name.removesuffix(_SUFFIX)] = read_npy(raw, budget=budget)
        except CheckpointError as error:
            raise CheckpointError(f"its member {shown(name)} {error}") from None
    return found


def read_npy(data: memoryview, *, budget: Budget) -> Any:
    """The array of a ``.npy`` file; pickled objects go through this project's own unpickler.

    Args:
        data: The whole file.
        budget: What it may cost.

    Returns:
        `numpy.ndarray` of numbers; of an object array its one object, or nested lists of them.

    Raises:
        CheckpointError: Truncated, a lying header, a structured dtype, or a pickle that asks for
            more than plain data.
    """
    dtype, fortran, shape, at = _header(data)
    if not dtype.is_object:
        order = "F" if fortran else "C"
        return array(data[at:], shape=shape, dtype=dtype, order=order, budget=budget)
    machine = Machine(data, names=ALL, budget=budget, at=at)
    value = run(machine)
    if not isinstance(value, PickledArray) or value.shape != shape or machine.at != len(data):
        raise CheckpointError(f"has {shown(value)} pickled where its header says an object array")
    return plain(value, budget=budget)


def _header(data: memoryview) -> tuple[DType, bool, tuple[int, ...], int]:
    """Dtype, whether the first index runs fastest, shape, and where the data start."""
    wide = 2 if data[6:7] == b"\x01" else 4
    if bytes(data[:6]) != MAGIC or bytes(data[6:8]) not in (b"\x01\0", b"\x02\0", b"\x03\0"):
        raise CheckpointError("is no .npy file of version 1, 2 or 3 (damaged)")
    length = int.from_bytes(data[8 : 8 + wide], "little")
    at = 8 + wide + length
    if length > _HEADER or at > len(data):
        raise CheckpointError(f"has a header of {length:,} bytes (truncated, or no array)")
    text = bytes(data[8 + wide : at]).decode("latin-1")
    header = _FIELDS.fullmatch(text)
    if header is None:
        raise CheckpointError(f"has the header {shown(text)}, expected an array of plain numbers")
    descr, fortran, sizes = header.groups()
    parts = [_SIZE.fullmatch(size.strip()) for size in sizes.split(",") if size.strip()]
    shape = tuple(int(part[1]) if part else -1 for part in parts)
    check_shape(shape)
    return DType(descr), fortran == "True", shape, at
