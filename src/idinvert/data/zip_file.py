"""Zip archives of stored files, written piece by piece: one that was cut off can be gone on with.

The standard library writes a directory only when it closes an archive, and cannot go on without
one. Layout: PKWARE's APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.14 to 4.3.16. Times are all
1980-01-01, so that the same files give the same bytes.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

_FIXED_DATE = (1 << 5) | 1  # 1980-01-01, the first day there is
_UNIX = 3 << 8
_MODE = 0o100644 << 16
_MANY, _FAR = 0xFFFF, 0xFFFFFFFF


class Entry(NamedTuple):
    """One stored file.

    Attributes:
        name: ASCII, forward slashes.
        size: Bytes.
        crc: CRC-32.
    """

    name: str
    size: int
    crc: int


def room_of(entry: Entry) -> int:
    """Bytes an entry takes, its header included."""
    return 30 + len(entry.name) + entry.size


def write_entry(file: BinaryIO, entry: Entry, data: bytes) -> None:
    """Appends one file."""
    file.write(_local_header(entry) + entry.name.encode("ascii") + data)


def write_directory(file: BinaryIO, entries: list[Entry]) -> None:
    """Appends the directory of `entries`, which stand one after another from the file's start."""
    offset, directory = 0, bytearray()
    for entry in entries:
        directory += _central_header(entry, offset)
        offset += room_of(entry)
    file.write(directory)
    count, size = len(entries), len(directory)
    if count >= _MANY or offset >= _FAR or size >= _FAR:
        large = struct.pack(
            "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45 | _UNIX, 45, 0, 0, count, count, size, offset
        )
        file.write(large + struct.pack("<4sIQI", b"PK\x06\x07", 0, offset + size, 1))
    count, size, offset = min(count, _MANY), min(size, _FAR), min(offset, _FAR)
    file.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0))


def _local_header(entry: Entry) -> bytes:
    shared = _shared(entry, version=20)
    return b"PK\x03\x04" + shared


def _central_header(entry: Entry, offset: int) -> bytes:
    far = offset >= _FAR
    extra = struct.pack("<HHQ", 1, 8, offset) if far else b""
    version = 45 if far else 20
    header = struct.pack("<4sH", b"PK\x01\x02", version | _UNIX)
    header += _shared(entry, version=version)[:-2] + struct.pack("<H", len(extra))
    header += struct.pack("<HHHII", 0, 0, 0, _MODE, _FAR if far else offset)
    return header + entry.name.encode("ascii") + extra


def _shared(entry: Entry, *, version: int) -> bytes:
    """Version to length of extra: what both headers of a file have in common."""
    lengths = (entry.size, entry.size, len(entry.name), 0)
    return struct.pack("<HHHHHIIIHH", version, 0, 0, 0, _FIXED_DATE, entry.crc, *lengths)
