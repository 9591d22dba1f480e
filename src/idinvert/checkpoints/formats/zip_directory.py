"""The members of a zip file, by an own bounded reader: overlaps, repeats and lies are refused.

Structures as in PKWARE's APPNOTE: end of central directory (4.3.16), its zip64 form (4.3.14 and
4.3.15), central headers (4.3.12), local headers (4.3.7).
"""

import mmap
import struct
import zlib
from itertools import pairwise
from typing import NamedTuple

from idinvert.checkpoints.formats.budget import Budget, shown
from idinvert.errors import CheckpointError

STORED, DEFLATED = 0, 8

_MEMBERS = 50_000
_NAME = 512  # bytes
_EXTRAS = 16  # extra fields of an entry that are looked at
_TAIL = 22 + 65_535  # end record and the longest comment
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 1


class Member(NamedTuple):
    """One file of the zip.

    Attributes:
        name: With forward slashes.
        method: `STORED` or `DEFLATED`.
        crc: Of the content.
        packed: Bytes in the zip.
        size: Bytes of the content.
        at: Where the packed bytes start.
    """

    name: str
    method: int
    crc: int
    packed: int
    size: int
    at: int


def members(data: memoryview | mmap.mmap) -> dict[str, Member]:
    """The zip's files by name, folders left out.

    Args:
        data: The whole file.

    Raises:
        CheckpointError: The directory is missing (truncated), lies, repeats a name, lets members
            overlap, or names a path outside.
    """
    count, size, start = _directory(data)
    if count > _MEMBERS:
        raise CheckpointError(f"is a zip of {count:,} files, expected at most {_MEMBERS:,}")
    if start + size > len(data):
        raise CheckpointError("is a zip whose directory lies outside the file (truncated)")
    found: dict[str, Member] = {}
    spans = [(start, len(data))]
    at = start
    for _ in range(count):
        member, header, at = _central(data, at, end=start + size)
        spans.append((header, member.at + member.packed))
        if member.name.endswith("/"):
            continue
        if member.name in found:
            raise CheckpointError(f"is a zip with two files named {shown(member.name)}")
        found[member.name] = member
    spans.sort()
    for (_, end), (begin, _) in pairwise(spans):
        if begin < end:
            raise CheckpointError("is a zip whose files overlap (a zip bomb, or damaged)")
    return found


def content(data: memoryview | mmap.mmap, member: Member, *, budget: Budget) -> bytes:
    """A member's bytes, decompressed within bounds.

    Raises:
        CheckpointError: Of another size or checksum than the directory says, or too large.
    """
    budget.spend_bytes(member.size)
    packed = bytes(data[member.at : member.at + member.packed])
    if member.method == STORED:
        plain = packed
    else:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        plain = inflate.decompress(packed, member.size + 1)
    check(plain, member)
    return plain


def check(plain: bytes | memoryview, member: Member) -> None:
    """Compares size and checksum with the directory's.

    Raises:
        CheckpointError: They differ.
    """
    if len(plain) != member.size or zlib.crc32(plain) != member.crc:
        raise CheckpointError(
            f"is damaged: size or checksum of {shown(member.name)} is not what its directory says"
        )


def _directory(data: memoryview | mmap.mmap) -> tuple[int, int, int]:
    """Number of entries, size and start of the central directory."""
    tail_at = max(0, len(data) - _TAIL)
    tail = bytes(data[tail_at:])
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < _END.size:
        raise CheckpointError("is a zip without its directory (truncated), expected one at the end")
    _, disk, first, _, count, size, start, comment = _END.unpack_from(tail, place)
    if place + _END.size + comment != len(tail):
        raise CheckpointError("is a zip with bytes after its end (damaged)")
    place += tail_at
    if 0xFFFFFFFF in (size, start) or 0xFFFF in (count, disk):
        count, size, start = _directory64(data, place)
        disk = first = 0
    if disk or first:
        raise CheckpointError("is one part of a zip in several parts, expected all of it")
    return count, size, start


def _directory64(data: memoryview | mmap.mmap, place: int) -> tuple[int, int, int]:
    locator = _unpack(_LOCATOR, data, place - _LOCATOR.size, b"PK\x06\x07")
    end = _unpack(_END64, data, locator[2], b"PK\x06\x06")
    return end[7], end[8], end[9]


def _unpack(form: struct.Struct, data: memoryview | mmap.mmap, at: int, magic: bytes) -> tuple:  # type: ignore[type-arg]
    if at < 0 or at + form.size > len(data) or bytes(data[at : at + 4]) != magic:
        raise CheckpointError("is a zip with a header out of place (truncated or damaged)")
    return form.unpack(bytes(data[at : at + form.size]))


def _central(data: memoryview | mmap.mmap, at: int, *, end: int) -> tuple[Member, int, int]:
    """One entry of the directory: the member, its local header's place, the next entry's place."""
    fields = _unpack(_CENTRAL, data, at, b"PK\x01\x02")
    flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    name_size, extra_size, comment_size = fields[10:13]
    header = fields[16]
    at += _CENTRAL.size
    after = at + name_size + extra_size + comment_size
    if after > end or not 0 < name_size <= _NAME:
        raise CheckpointError("is a zip whose directory is cut or lies (damaged)")
    raw = bytes(data[at : at + name_size])
    extra = bytes(data[at + name_size : at + name_size + extra_size])
    size, packed, header = _wide(extra, size, packed, header)
    name = raw.decode("utf-8", "backslashreplace")
    if flags & _ENCRYPTED or method not in (STORED, DEFLATED):
        raise CheckpointError(f"is a zip with {shown(name)} encrypted or packed in a rare way")
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise CheckpointError(f"is a zip with a path outside of it: {shown(name)}")
    local = _unpack(_LOCAL, data, header, b"PK\x03\x04")
    start = header + _LOCAL.size + local[9] + local[10]
    named = bytes(data[header + _LOCAL.size : header + _LOCAL.size + local[9]])
    if named != raw or start + packed > len(data):
        raise CheckpointError(f"is a zip whose header of {shown(name)} lies (truncated or damaged)")
    if method == STORED and packed != size:
        raise CheckpointError(f"is a zip that gives {shown(name)} two sizes (damaged)")
    return Member(name, method, crc, packed, size, start), header, after


def _wide(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Sizes and place in 64 bits, where the entry has them (4.5.3)."""
    values, at = [size, packed, header], 0
    for _ in range(_EXTRAS):
        if len(extra) - at < 4:
            break
        kind, length = struct.unpack_from("<2H", extra, at)
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind != 1:
            continue
        for index, value in enumerate(values):
            if value == 0xFFFFFFFF and len(body) >= 8:
                values[index] = int.from_bytes(body[:8], "little")
                body = body[8:]
    return values[0], values[1], values[2]
