"""Pickles written opcode by opcode, and containers around them, as no library would."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

import torch

STOP = b"."
MARK, TUPLE, REDUCE, BUILD, NEWOBJ = b"(", b"t", b"R", b"b", b"\x81"
EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT, NONE = b")", b"]", b"}", b"N"
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")


def proto(body: bytes, version: int = 2) -> bytes:
    """A whole pickle."""
    return b"\x80" + bytes([version]) + body + STOP


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def data(value: bytes) -> bytes:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def stacked(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL."""
    return text(module) + text(attribute) + b"\x93"


def number(value: int) -> bytes:
    """LONG1."""
    raw = value.to_bytes(max(1, (value.bit_length() + 8) // 8), "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*parts: bytes) -> bytes:
    """MARK … TUPLE."""
    return MARK + b"".join(parts) + TUPLE


def dict_of(entries: Mapping[str, bytes]) -> bytes:
    """EMPTY_DICT, MARK … SETITEMS."""
    items = b"".join(text(key) + value for key, value in entries.items())
    return EMPTY_DICT + MARK + items + b"u"


def call(function: bytes, *arguments: bytes) -> bytes:
    """REDUCE."""
    return function + tuple_of(*arguments) + REDUCE


def storage(*, numel: int, key: str = "0", kind: str = "FloatStorage", extra: bytes = b"") -> bytes:
    """A storage by its persistent id."""
    parts = (text("storage"), name("torch", kind), text(key), text("cpu"), number(numel), extra)
    return tuple_of(*parts) + b"Q"


def tensor(
    memory: bytes, *, offset: int = 0, size: tuple[int, ...], stride: tuple[int, ...]
) -> bytes:
    """A tensor on a storage, rebuilt as torch does."""
    sizes, strides = (tuple_of(*map(number, values)) for values in (size, stride))
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, memory, number(offset), sizes, strides, b"\x89", hooks)


def array(*, shape: tuple[int, ...], code: str, raw: bytes) -> bytes:
    """A NumPy array; ``raw`` is the opcodes of its data."""
    empty = call(
        name("numpy.core.multiarray", "_reconstruct"),
        name("numpy", "ndarray"), tuple_of(number(0)), data(b"b"),
    )  # fmt: skip
    dtype = call(name("numpy", "dtype"), text(code), b"\x89", b"\x88")
    state = tuple_of(number(1), tuple_of(*map(number, shape)), dtype, b"\x89", raw)
    return empty + state + BUILD


def torch_zip(pickled: bytes, members: Mapping[str, bytes] | None = None, **more: bytes) -> bytes:
    """Torch's zip container around a pickle; ``members`` by their name below the root."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", b"3\n")
        for place, content in {**(members or {}), **more}.items():
            file.writestr(f"archive/{place}", content)
    return buffer.getvalue()


def legacy(pickled: bytes, *, keys: tuple[str, ...] = (), tail: bytes = b"") -> bytes:
    """Torch's stream around a pickle."""
    system = proto(dict_of({"protocol_version": number(1001), "little_endian": b"\x88"}))
    listed = proto(EMPTY_LIST + MARK + b"".join(map(text, keys)) + b"e")
    return LEGACY_MAGIC + proto(number(1001)) + system + pickled + listed + tail


def nested(stream: bytes) -> bytes:
    """A storage as it stands inside NVlabs' pickles."""
    return call(name("torch.storage", "_load_from_bytes"), data(stream))


def tensor_bytes(count: int) -> bytes:
    """The bytes of ``count`` float32 numbers."""
    return torch.arange(count, dtype=torch.float32).numpy().tobytes()


def raw_zip(entries: list[tuple[str, bytes, int]], *, declared: int | None = None) -> bytes:
    """A zip written by hand, so that it may lie.

    Args:
        entries: Name, stored content, and the content's size as the directory claims it.
        declared: Entries that the end record claims; None says the truth.
    """
    body, directory = b"", b""
    for place, content, size in entries:
        raw, crc, header = place.encode(), zlib.crc32(content), len(body)
        common = struct.pack("<HHHHLLLHH", 0, 0, 0, 0, crc, len(content), size, len(raw), 0)
        body += b"PK\x03\x04" + struct.pack("<H", 20) + common + raw + content
        directory += b"PK\x01\x02" + struct.pack("<HH", 20, 20) + common
        directory += struct.pack("<HHHLL", 0, 0, 0, 0, header) + raw
    count = len(entries) if declared is None else declared
    end = struct.pack("<HHHHLLH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def npy(descr: str, shape: str, body: bytes) -> bytes:
    """A ``.npy`` file whose header says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header = header.ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def safetensors(header: bytes, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file whose header says what it likes."""
    claimed = len(header) if length is None else length
    return struct.pack("<Q", claimed) + header + body
