"""The process that reads a foreign file: started by `read`, limited, and then unable to do more.

It imports the standard library and this package's readers, sets its limits, and installs an audit
hook that ends it at any import, open, exec, socket or other such event. Only then it looks at the
file, which is its standard input. The answer goes to standard output: a length (8 bytes, little
endian), a header in JSON, then the bytes of tensors and arrays side by side.
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
"""CPython shows a SystemError in passing where a huge bytearray cannot be had, and goes on."""
_STOPPED = 70  # exit status


def main() -> NoReturn:
    """Reads the file that is standard input.

    The arguments are the seconds of processor time and the bytes of address space allowed.
    """
    seconds, memory = map(int, sys.argv[-2:])
    size = os.fstat(0).st_size
    data = mmap.mmap(0, 0, access=mmap.ACCESS_READ)
    output = sys.stdout.buffer
    lock(seconds, memory)
    gc.disable()  # it would walk a million containers again and again
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
    os._exit(0)  # nothing is taken apart that a file made deep


def lock(seconds: int, memory: int) -> None:
    """Limits this process, and leaves it nothing but computing."""
    for kind, limit, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, seconds, seconds + 1),  # the first is a signal that says so
        (resource.RLIMIT_AS, memory, memory),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set, or not known here
            resource.setrlimit(kind, (limit, hard))
    sys.addaudithook(_stop)


def _answer(data: mmap.mmap) -> tuple[bytes, list[Any]]:
    """The header, and the bytes behind it."""
    blobs: list[Any] = []
    try:
        kind, content = read(data, sys.stdin.buffer)
        header: dict[str, Any] = {"kind": kind, **Encoder(blobs).encode(content)}
        return json.dumps(header).encode(), blobs
    except CheckpointError as error:
        reason = str(error)
    except MemoryError:
        raise
    # Whatever a damaged file makes a library stumble over ends in the same words.
    except Exception as error:
        what = f"{type(error).__name__}: {shown(str(error))}"
        reason = f"is damaged or not what it seems ({what}), {EXPECTED}"
    return json.dumps({"error": reason}).encode(), []


def _stop(event: str, arguments: tuple[Any, ...]) -> None:
    """Ends the process at any event (import, open, exec, socket …), whoever asks for it."""
    if event not in _HARMLESS:
        os.write(2, f"{event} {arguments}"[:200].encode("ascii", "replace"))
        os._exit(_STOPPED)
