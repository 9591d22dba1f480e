"""Opens a checkpoint file of any container as plain data; no code in it is run.

A child process reads the file (`child`) within limits, and answers with JSON data and bytes.
Whatever terminates the child (a bomb, an endless loop, a crash) is a `CheckpointError` here. A
safetensors file needs no child: its library reads a header of numbers and runs no code.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from idinvert.checkpoints.formats.archive import Archive, Stored, with_state_dicts
from idinvert.checkpoints.formats.records import answer_bytes
from idinvert.checkpoints.tensor_file import TensorFileError, read_tensors
from idinvert.errors import CheckpointError
from idinvert.untrusted import memory_bytes, open_regular, shown

_START = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from idinvert.checkpoints.formats.child import main; main()"
)
_SOURCE = str(Path(__file__).parents[3])
COMMAND = (sys.executable, "-I", "-S", "-c", _START, _SOURCE)
"""The child: Python without site-packages, which ignores PYTHONPATH and similar variables."""

_TOO_LARGE = "unpacks to far more data than is in the file (a bomb, or damaged)"


class Limits(NamedTuple):
    """Resources that the child may use.

    Attributes:
        processor: Seconds of processor time.
        clock: Seconds of wall-clock time, which include reading from a slow file system.
        memory: Bytes of address space.
    """

    processor: int
    clock: float
    memory: int


def limits(size: int) -> Limits:
    """Returns the limits for a file of ``size`` bytes; 400 MB take about two seconds."""
    megabytes = size >> 20
    return Limits(10 + megabytes // 20, 120 + megabytes, (512 << 20) + 10 * size)


def read_archive(path: str | Path, *, key: str) -> Archive:
    """Reads a file; its container is detected from the content, not from the name.

    Args:
        path: The file: safetensors, torch (zip, or the stream before 1.6), a raw pickle (NVlabs,
            TensorFlow), ``.npy`` or ``.npz``, including pickled objects in them.
        key: The config key that named it, for messages.

    Raises:
        CheckpointError: The file does not exist, is of none of these containers, is damaged, uses
            a name that is not on the allow-list, or exceeds the limits.
    """
    path = Path(path)
    try:
        if not path.is_file():
            what = "is a folder or no plain file" if path.exists() else "no such file"
            raise CheckpointError(f"{what}, expected a checkpoint file")
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            start = file.read(9)
            file.seek(0)
            if size == 0:
                raise CheckpointError(
                    "is empty (a download cut short?), expected safetensors, a torch file, a "
                    "pickle, .npy or .npz"
                )
            if size > memory_bytes():
                raise CheckpointError(
                    f"has {size:,} bytes, more than this machine's memory, expected a checkpoint"
                )
            if start[8:] == b"{" and int.from_bytes(start[:8], "little") + 8 <= size:
                return _read_safetensors(path)
            return _read_in_child(file, path, size=size)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; change {key}") from None
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror or error}), expected a checkpoint file; "
            f"change {key}"
        ) from None
    except MemoryError:
        raise CheckpointError(
            f"{path}: does not fit into this machine's memory; change {key}"
        ) from None


def read_state_dict(path: str | Path, *, key: str) -> dict[str, Tensor]:
    """Reads tensors by name from a file of any container.

    Raises:
        CheckpointError: As in `read_archive`, or the file contains something else.
    """
    content = read_archive(path, key=key).content
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(
            f"{path}: holds a {type(content).__name__} that is no state dict, expected tensors by "
            f"name; change {key}"
        )
    return content


def _read_safetensors(path: Path) -> Archive:
    try:
        found = read_tensors(path)
    except TensorFileError as error:
        raise CheckpointError(f"{error}, expected one that is whole") from None
    return Archive(kind="safetensors", path=path, content=found.tensors, metadata=found.metadata)


def _read_in_child(file: IO[bytes], path: Path, *, size: int) -> Archive:
    with _child(file, limits(size)) as pipe:
        length = int.from_bytes(_take(pipe, 8), "little")
        if length > 2 * answer_bytes(size):
            raise CheckpointError(_TOO_LARGE)
        header = {"blobs": [], "error": ""} | json.loads(_take(pipe, length))
        if sum(header["blobs"]) > answer_bytes(size):
            raise CheckpointError(_TOO_LARGE)
        blobs = [_take(pipe, count) for count in header["blobs"]]
    if header["error"]:
        raise CheckpointError(header["error"])
    try:
        content = with_state_dicts(_decode(header["root"], header["nodes"], blobs))
    # Sizes beyond NumPy's or torch's limits although empty, or text that is not Unicode.
    except (ValueError, RuntimeError, SystemError, OverflowError) as error:
        raise CheckpointError(
            f"is damaged or not what it seems ({type(error).__name__}: {shown(str(error))})"
        ) from None
    return Archive(kind=header["kind"], path=path, content=content)


class _Broken(Exception):
    """The child's answer ended early."""


@contextmanager
def _child(file: IO[bytes], limits: Limits) -> Iterator[IO[bytes]]:
    """Yields the pipe from a child that reads the file; the child is terminated on exit.

    The child is a new program (exec), so it inherits nothing of this process, its threads or its
    CUDA context.
    """
    process = subprocess.Popen(
        [*COMMAND, str(limits.processor), str(limits.memory)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    late = threading.Timer(limits.clock, process.kill)
    late.daemon = True
    late.start()
    try:
        yield process.stdout
        process.wait()
    except _Broken:
        status = process.wait()
        raise CheckpointError(_why(status, process.stderr.read(), limits)) from None
    finally:
        late.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()


def _why(status: int, said: bytes, limits: Limits) -> str:
    """Describes the reason why the child ended."""
    if status == -signal.SIGXCPU:
        return (
            f"takes more than {limits.processor} s of processor time to read, expected far less of "
            "a checkpoint (a bomb, or damaged)"
        )
    if status == -signal.SIGKILL:
        return (
            f"was not read within {limits.clock:.0f} s, or the system killed the process that "
            "reads it (for memory?), expected far less of a checkpoint"
        )
    words = shown(said.decode("utf-8", "replace").strip().rpartition("\n")[2])
    if status < 0:
        name = signal.Signals(-status).name
        return f"ended the process that reads it ({name}); the file is damaged or made to do so"
    return f"could not be read: the process that reads it ended with status {status} ({words})"


def _take(pipe: IO[bytes], count: int) -> bytearray:
    found = bytearray(count)
    if pipe.readinto(found) != count:  # type: ignore[attr-defined]
        raise _Broken
    return found


def _decode(root: Any, nodes: list[list[Any]], blobs: list[bytearray]) -> Any:
    """Rebuilds the tree of `Encoder`; shared values stay shared."""
    made: list[Any] = []

    def value(given: Any) -> Any:
        return made[given[0]] if type(given) is list else given

    makers: dict[str, Callable[..., Any]] = {
        "d": lambda *parts: dict(zip(parts[::2], parts[1::2], strict=True)),
        "l": lambda *parts: list(parts),
        "t": lambda *parts: parts,
        "s": lambda *parts: set(parts),
        "c": complex,
        "O": Stored,
    }
    for kind, *parts in nodes:
        if kind == "b":
            made.append(bytes(blobs[parts[0]]))
        elif kind == "T":
            made.append(_tensor(blobs[parts[0]], *parts[1:]))
        elif kind == "A":
            made.append(_array(blobs[parts[0]], *parts[1:]))
        else:
            made.append(makers[kind](*map(value, parts)))
    return value(root)


def _tensor(blob: bytearray, dtype: str, offset: int, size: list[int], stride: list[int]) -> Tensor:
    """Returns a view of the storage; a copy if elements share memory (expanded tensors)."""
    kind = getattr(torch, dtype)
    if 0 in size:
        return torch.empty(size, dtype=kind)
    whole = len(blob) // kind.itemsize * kind.itemsize
    memory = torch.frombuffer(blob, dtype=torch.uint8)[:whole]
    if dtype == "bool":  # bytes other than 0 and 1 are not valid bools
        return memory.as_strided(size, stride, offset).ne(0)
    found = memory.view(kind).as_strided(size, stride, offset)
    if _overlaps(size, stride):
        return found.clone(memory_format=torch.contiguous_format)
    return found


def _overlaps(size: list[int], stride: list[int]) -> bool:
    """Returns whether elements may share memory: a stride is within the extent of smaller ones."""
    reach = 0
    for step, count in sorted(zip(stride, size, strict=True)):
        if count > 1:
            if step <= reach:
                return True
            reach += (count - 1) * step
    return False


def _array(blob: bytearray, code: str, shape: list[int], order: Any, scalar: bool) -> Any:
    """Returns a writable array in this machine's byte order; a number; or text in nested lists."""
    kind = np.dtype(code)
    if kind == np.bool_:
        found = np.ndarray(shape, np.uint8, buffer=blob, order=order) != 0
    else:
        found = np.ndarray(shape, kind, buffer=blob, order=order)
    if kind.kind == "S":
        return np.char.decode(found, "latin-1").tolist()
    if scalar or kind.kind == "U":
        return found.tolist()
    return found.astype(found.dtype.newbyteorder("="), order="C", copy=True)
