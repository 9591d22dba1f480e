"""The sandboxed process that reads a foreign file, started by `read`.

It imports the standard library and this package's readers, sets its limits, and installs an audit
hook that terminates it at any import, open, exec, socket or similar event. Only then does it read
the file, its standard input. The answer goes to standard output: a length (8 bytes, little
endian), a header in JSON, then the bytes of tensors and arrays one after another.
"""

import contextlib
import encodings.cp437  # noqa
import gc
import json
import mmap
import os
import resource
import sys
from typing import Any, NoReturn

from idinvert.checkpoints.formats.containers import EXPECTED, read
from idinvert.checkpoints.formats.encode import Encoder
from idinvert.checkpoints.formats.records import budget
from idinvert.errors import CheckpointError
from idinvert.untrusted import shown

_HARMLESS = ("builtins.id", "sys.excepthook")
"""CPython reports a SystemError and continues when a huge bytearray cannot be allocated."""
_STOPPED = 70  # exit status


def main() -> NoReturn:
    """Reads the file at standard input.

    The command-line arguments are the limits: seconds of processor time and bytes of address space.
    """
    seconds, memory = map(int, sys.argv[-2:])
    size = os.fstat(0).st_size
    data = mmap.mmap(0, 0, access=mmap.ACCESS_READ)
    output = sys.stdout.buffer
    lock(seconds, memory)
    gc.disable()  # it would traverse a million containers repeatedly
    budget.start(size)
    try:
        header, blobs = _answer(data)
    except MemoryError:
        error = (
            f"needs more memory than {memory >> 20:,} MB to be read, which is far beyond its "
            f"{size:,} bytes (a bomb, or damaged)"
        )
        header, blobs = json.dumps({"error": error}).encode(), []
    output.write(len(header).to_bytes(8, "little") + header)
    for blob in blobs:
        output.write(blob)
    output.flush()
    os._exit(0)  # skips the destruction of objects that a file may have nested deeply


def lock(seconds: int, memory: int) -> None:
    """Limits this process so that it can do nothing but compute."""
    for kind, limit, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, seconds, seconds + 1),  # the soft limit sends SIGXCPU
        (resource.RLIMIT_AS, memory, memory),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set, or it is unsupported
            resource.setrlimit(kind, (limit, hard))
    sys.addaudithook(_stop)


def _answer(data: mmap.mmap) -> tuple[bytes, list[Any]]:
    """Returns the header, and the bytes that follow it."""
    blobs: list[Any] = []
    try:
        kind, content = read(data, sys.stdin.buffer)
        header: dict[str, Any] = {"kind": kind, **Encoder(blobs).encode(content)}
        return json.dumps(header).encode(), blobs
    except CheckpointError as error:
        reason = str(error)
    except MemoryError:
        raise
    # Any exception that a damaged file causes in a library gives the same message.
    except Exception as error:
        what = f"{type(error).__name__}: {shown(str(error))}"
        reason = f"is damaged or not what it seems ({what}), {EXPECTED}"
    return json.dumps({"error": reason}).encode(), []


def _stop(event: str, arguments: tuple[Any, ...]) -> None:
    """Terminates the process at any event (import, open, exec, socket …), whatever its source."""
    if event not in _HARMLESS:
        os.write(2, f"{event} {arguments}"[:200].encode("ascii", "replace"))
        os._exit(_STOPPED)
