"""Files made to take memory or time, or to lie about where things are; nothing in them is code."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterator

from . import assembler as a
from .foreign import Persistent, nvlabs_pickle, tiny_generator

Files = Iterator[tuple[str, bytes]]
HUGE = 1 << 40


def bombs() -> Files:
    """Name and content of every file."""
    yield from _pickles()
    yield from _tensors()
    yield from _arrays()
    yield from _zips()
    yield from _others()


def _pickles() -> Files:
    doubled = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(200))
    yield "laughs: tuples of pairs", a.proto(a.EMPTY_TUPLE + doubled)
    lists = b"".join(
        b"]q" + bytes([i + 1]) + b"(h" + bytes([i]) + b"h" + bytes([i]) + b"e0" for i in range(99)
    )
    yield "laughs: lists in lists", a.proto(a.EMPTY_LIST + b"q\x000" + lists + b"h\x63")
    yield (
        "laughs: as a dict key",
        a.proto(a.EMPTY_DICT + b"(" + a.EMPTY_TUPLE + doubled + a.NONE + b"u"),
    )
    yield "laughs: in a set", a.proto(b"\x8f(" + a.EMPTY_TUPLE + doubled + b"\x90", 4)
    yield "contains itself: list", a.proto(a.EMPTY_LIST + b"q\x00" + b"h\x00" + b"a")
    yield "contains itself: dict", a.proto(b"}q\x00" + a.text("a") + b"h\x00" + b"s")
    yield (
        "contains itself: object",
        a.proto(a.name("dnnlib.tflib.network", "Network") + b")\x81q\x00" + b"h\x00" + b"b"),
    )
    yield (
        "deep: tuples as a dict key",
        a.proto(a.EMPTY_DICT + a.NONE + b"\x85" * 3_000_000 + a.NONE + b"s"),
    )
    yield "deep: tuples", a.proto(a.NONE + b"\x85" * 300_000)
    yield "deep: lists", a.proto(b"]" * 100_000 + b"a" * 99_999)
    yield "deep: marks", a.proto(b"(" * 100_000 + b"t" * 100_000)
    yield "many: sets", a.proto(b"(" + b"\x8f" * 1_100_000 + b"t", 4)
    yield "many: dicts", a.proto(b"(" + b"}" * 1_100_000 + b"t")
    yield "many: numbers", a.proto(b"(" + b"N" * 1_100_000 + b"l")
    yield "repeats: one long text encoded", a.proto(
        a.name("_codecs", "encode") + b"q\x000" + a.text("x" * 1_000_000) + b"q\x010"
        + a.text("latin1") + b"q\x020(" + b"h\x00h\x01h\x02\x86R" * 10_000 + b"l"
    )  # fmt: skip
    pairs = a.EMPTY_LIST + b"(" + b"".join(a.text(str(i)) + b"N\x86" for i in range(10_000)) + b"e"
    yield "repeats: one list as many dicts", a.proto(
        a.name("collections", "OrderedDict") + b"q\x000" + pairs + b"\x85q\x010("
        + b"h\x00h\x01R" * 10_000 + b"l"
    )  # fmt: skip
    collide = b"".join(a.number((2**61 - 1) * i) + b"N" for i in range(60_000))
    yield "colliding keys", a.proto(a.EMPTY_DICT + b"(" + collide + b"u")
    yield "long: LONG4", a.proto(b"\x8b" + struct.pack("<i", 2_000_000) + b"\x7f" * 2_000_000)
    yield "long: LONG4 beyond the end", a.proto(b"\x8b" + struct.pack("<i", 2**31 - 1))
    yield "long: LONG4 negative", a.proto(b"\x8b" + struct.pack("<i", -1))
    yield "long: digits", a.proto(b"I" + b"9" * 5_000_000 + b"\n")
    yield "long: digits with an L", a.proto(b"L" + b"9" * 900 + b"L\n")
    yield "long: BINUNICODE8", a.proto(b"\x8d" + struct.pack("<Q", 2**63 - 1) + b"x", 4)
    yield "long: BINBYTES8", a.proto(b"\x8e" + struct.pack("<Q", HUGE) + b"x", 4)
    yield "long: BYTEARRAY8", a.proto(b"\x96" + struct.pack("<Q", HUGE) + b"x", 5)
    yield "long: BINSTRING negative", a.proto(b"T" + struct.pack("<i", -5) + b"x")
    yield "long: line", b"c" + b"x" * 3_000_000
    yield "frame beyond the end", b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"N."
    yield "frames without end", a.proto((b"\x95" + b"\0" * 8) * 300_000 + b"N", 4)[:-1]
    yield "protocol 255", b"\x80\xff" + b"N."
    yield "no STOP", b"\x80\x02" + a.EMPTY_DICT
    yield "STOP at once", b"\x80\x02."
    yield "pop of nothing", a.proto(b"000N")
    yield "odd items", a.proto(a.EMPTY_DICT + b"(" + a.text("a") + b"u")
    yield "unhashable key", a.proto(a.EMPTY_DICT + a.EMPTY_LIST + a.NONE + b"s")
    yield (
        "text that is no UTF-8 as a name",
        a.proto(b"X\x02\x00\x00\x00\xff\xfe" + a.text("x") + b"\x93"),
    )
    yield "unknown opcode", a.proto(b"\xfe")
    yield "float that is none", a.proto(b"Fnot a number\n")
    yield "string without quotes", a.proto(b"S'abc\n")
    yield "nested many times", a.proto(
        a.name("torch.storage", "_load_from_bytes") + b"q\x000"
        + a.data(a.legacy(a.proto(a.storage(numel=100_000, extra=a.NONE)), keys=("0",),
                          tail=struct.pack("<q", 100_000) + b"\0" * 400_000))
        + b"\x85q\x010(" + b"h\x00h\x01R" * 10_000 + b"l"
    )  # fmt: skip
    yield (
        "long: text of 57 MB that is no UTF-8",
        a.proto(b"X" + struct.pack("<I", 57_000_000) + b"\xff" * 57_000_000),
    )
    yield from _repeated()
    yield "repeats: one module", shared_modules("xy", depth=15)


def shared_modules(name: str, *, depth: int = 10) -> bytes:
    """A generator whose modules hold the same module twice, and that one the next one twice."""
    module, names = tiny_generator(), (name, name[1:])
    for _ in range(depth):
        above = Persistent("Generator", 4, 0, 4)
        above._modules.update(dict.fromkeys(names, module))
        module = above
    top = tiny_generator()
    top._modules["synthesis"] = module
    return nvlabs_pickle({"G": tiny_generator(), "G_ema": top, "D": None})


def _repeated() -> Files:
    """One large value, remembered, and asked for again and again at a few bytes a time."""
    again = b"h\x00h\x01R" * 40_000 + b"l"

    def repeated(function: bytes, *arguments: bytes) -> bytes:
        return a.proto(function + b"q\x000" + a.tuple_of(*arguments) + b"q\x010(" + again)

    dtype = a.call(a.name("numpy", "dtype"), a.text("f8"), b"\x89", b"\x88")
    large = "x" * 500_000
    scalar = a.name("numpy.core.multiarray", "scalar")
    yield "repeats: a number of many bytes", repeated(scalar, dtype, a.text(large))
    yield "repeats: a device", repeated(a.name("torch", "device"), a.text(large))
    yield "repeats: a path", repeated(a.name("pathlib", "PosixPath"), a.text(large))
    many = a.EMPTY_LIST + b"(" + b"N" * 100_000 + b"e"
    yield "repeats: a size", repeated(a.name("torch", "Size"), many)
    yield "repeats: a deque", repeated(a.name("collections", "deque"), many)
    meta = {"type": a.text("class"), "class_name": a.text("G"), "state": a.dict_of({"a": many})}
    persistent = a.name("torch_utils.persistence", "_reconstruct_persistent_obj")
    given = a.dict_of({**meta, "state": a.dict_of({"_init_args": many})})
    yield "repeats: arguments of an object", repeated(persistent, given)
    namespace = a.name("argparse", "Namespace") + b")\x81q\x000"
    state = a.dict_of({str(i): a.NONE for i in range(20_000)}) + b"q\x010"
    yield "repeats: state of a namespace", a.proto(namespace + state + b"h\x00" + b"h\x01b" * 9_999)
    entries = b"".join(a.text(str(i)) + a.NONE for i in range(2_000))
    texts = a.EMPTY_DICT + b"(" + entries + b"u"
    yield "repeats: a counter", repeated(a.name("collections", "Counter"), texts)


def _tensors() -> Files:
    body = {"data/0": a.tensor_bytes(12)}

    def one(**layout) -> bytes:
        made = a.tensor(a.storage(numel=12), **layout)
        return a.torch_zip(a.proto(a.dict_of({"w": made})), body)

    yield "tensor: negative stride", one(offset=11, size=(12,), stride=(-1,))
    yield "tensor: negative size", one(size=(-12,), stride=(1,))
    yield "tensor: negative offset", one(offset=-4, size=(4,), stride=(1,))
    yield "tensor: offset beyond", one(offset=9, size=(4,), stride=(1,))
    yield "tensor: offset absurd", one(offset=2**62, size=(1,), stride=(1,))
    yield "tensor: offset that wraps", one(offset=2**64 - 4, size=(1,), stride=(1,))
    yield "tensor: size absurd", one(size=(HUGE, HUGE), stride=(1, 1))
    yield "tensor: stride beyond", one(size=(2, 2), stride=(12, 1))
    yield "tensor: stride absurd", one(size=(2,), stride=(2**63 - 1,))
    yield "tensor: expanded without end", one(size=(HUGE,), stride=(0,))
    yield "tensor: overlapping without end", one(size=(2**30, 2), stride=(0, 1))
    yield "tensor: sizes without strides", one(size=(2, 2), stride=(1,))
    yield "tensor: many dimensions", one(size=(1,) * 64, stride=(1,) * 64)
    yield "tensor: empty and absurd", one(size=(0, 2**60), stride=(2**60, 1))
    again = a.tensor(a.storage(numel=12), size=(12,), stride=(1,))
    many = b"(" + again + b"q\x05" + again * 60_000 + b"l"
    yield "tensor: very many", a.torch_zip(a.proto(many), body)
    rebuild = a.name("torch._utils", "_rebuild_tensor_v2")
    expanded = a.call(rebuild, a.storage(numel=12), a.number(0), a.tuple_of(a.number(250_000)),
                      a.tuple_of(a.number(0)), a.NONE, a.NONE)  # fmt: skip
    yield "tensor: expanded many times", a.torch_zip(a.proto(b"(" + expanded * 1_000 + b"l"), body)
    yield "storage: larger than its member", a.torch_zip(a.proto(a.storage(numel=HUGE)), body)
    yield "storage: smaller than its member", a.torch_zip(a.proto(a.storage(numel=1)), body)
    yield "storage: negative", a.torch_zip(a.proto(a.storage(numel=-1)), body)
    yield "storage: no such member", a.torch_zip(a.proto(a.storage(numel=12, key="1")), body)
    yield (
        "storage: key that climbs",
        a.torch_zip(a.proto(a.storage(numel=1, key="../../../etc/passwd")), body),
    )
    yield (
        "storage: key without end",
        a.torch_zip(a.proto(a.storage(numel=1, key="x" * 1_000_000)), body),
    )
    yield (
        "storage: dtype of a tensor",
        a.torch_zip(a.proto(a.storage(numel=12, kind="float32")), body),
    )
    stored = a.proto(a.storage(numel=3, extra=a.NONE))
    length = struct.pack("<q", 3)
    yield (
        "stream: larger than the file",
        a.legacy(
            a.proto(a.storage(numel=HUGE, extra=a.NONE)), keys=("0",), tail=struct.pack("<q", HUGE)
        ),
    )
    yield "stream: data missing", a.legacy(stored, keys=("0",), tail=length)
    yield (
        "stream: two lengths",
        a.legacy(stored, keys=("0",), tail=struct.pack("<q", 2) + b"\0" * 12),
    )
    yield "stream: negative length", a.legacy(stored, keys=("0",), tail=struct.pack("<q", -3))
    yield "stream: no keys", a.legacy(stored, tail=length + b"\0" * 12)
    yield "stream: key twice", a.legacy(stored, keys=("0", "0"), tail=2 * (length + b"\0" * 12))
    yield "stream: other key", a.legacy(stored, keys=("1",), tail=length + b"\0" * 12)
    yield "stream: more behind", a.legacy(stored, keys=("0",), tail=length + b"\0" * 13)
    view = a.tuple_of(a.text("0"), a.number(HUGE), a.number(HUGE))
    yield (
        "stream: absurd view",
        a.legacy(a.proto(a.storage(numel=3, extra=view)), keys=("0",), tail=length + b"\0" * 12),
    )
    yield "stream: wrong protocol", a.LEGACY_MAGIC + a.proto(a.number(7)) + a.proto(b"}") * 3


def _arrays() -> Files:
    four = a.data(b"\0" * 4)
    for shape in ((HUGE,), (-1,), (2,), (2**31, 2**31, 2**31), (1,) * 100):
        yield f"array: shape {str(shape)[:40]}", a.proto(a.array(shape=shape, code="f4", raw=four))
    for code in ("V4", "S99999999", "M8[ns]", "f4,f4", "x" * 100_000, "U1000000000", "(9999,)f4"):
        yield f"array: dtype {code[:20]}", a.proto(a.array(shape=(1,), code=code, raw=four))
    yield "array: of no bytes each", a.proto(a.array(shape=(HUGE,), code="S0", raw=a.data(b"")))
    yield (
        "array: objects from bytes",
        a.proto(a.array(shape=(1,), code="O8", raw=a.data(b"\1" * 8))),
    )
    yield "array: objects beyond", a.proto(a.array(shape=(HUGE,), code="O8", raw=a.EMPTY_LIST))
    yield "array: numbers from objects", a.proto(a.array(shape=(1,), code="f4", raw=a.EMPTY_LIST))
    yield "array: never filled", a.proto(
        a.call(a.name("numpy.core.multiarray", "_reconstruct"), a.name("numpy", "ndarray"),
               a.tuple_of(a.number(0)), a.data(b"b"))
    )  # fmt: skip
    empty = a.call(a.name("numpy.core.multiarray", "_reconstruct"), a.name("numpy", "ndarray"),
                   a.tuple_of(a.number(0)), a.data(b"b"))  # fmt: skip
    yield "array: contains itself", a.proto(
        empty + b"q\x09" + a.tuple_of(
            a.number(1), a.tuple_of(a.number(1)),
            a.call(a.name("numpy", "dtype"), a.text("O8"), b"\x89", b"\x88"), b"\x89",
            a.EMPTY_LIST + b"h\x09" + b"a",
        ) + a.BUILD
    )  # fmt: skip
    yield "npy: shape beyond", a.npy("'<f4'", f"({HUGE},)", b"\0" * 16)
    yield "npy: shape that multiplies", a.npy("'<f8'", f"({2**40}, {2**40}, 0)", b"\0" * 16)
    yield "npy: negative shape", a.npy("'<f4'", "(-1,)", b"\0" * 16)
    yield "npy: too little data", a.npy("'<f4'", "(8,)", b"\0" * 16)
    yield "npy: too much data", a.npy("'<f4'", "(2,)", b"\0" * 16)
    yield "npy: structured", a.npy("[('a', '<f4')]", "(4,)", b"\0" * 16)
    yield "npy: digits", a.npy("'<f4'", "(" + "1" * 5_000 + ",)", b"")
    yield "npy: brackets", a.npy("'<f4'", "(" * 3_000, b"")
    yield "npy: numbers side by side", a.npy("'<f4'", "(" + "1 " * 250 + "x)", b"")
    yield "npy: header beyond", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{"
    yield "npy: version 9", b"\x93NUMPY\x09\x00" + b"\0" * 200
    yield "npy: only the magic", b"\x93NUMPY"
    yield "npy: objects, but a number", a.npy("'|O'", "()", a.proto(a.number(1)))


def _zips() -> Files:
    yield "zip: end record only", b"PK\x05\x06" + b"\0" * 18
    yield "zip: no directory", a.torch_zip(a.proto(a.EMPTY_DICT))[:200]
    good = a.torch_zip(a.proto(a.EMPTY_DICT))
    yield "zip: directory cut", good[:-30]
    yield "zip: more behind", good + b"x" * 100
    for place in ("../data.pkl", "/data.pkl", "archive/../../x", "C:\\x", "a\\b"):
        yield f"zip: path {place}", a.raw_zip([("archive/data.pkl", b"}.", 2), (place, b"x", 1)])
    twice = [("archive/data.pkl", b"}.", 2)] * 2
    yield "zip: a name twice", a.raw_zip(twice)
    yield "zip: two roots", a.raw_zip([("a/data.pkl", b"}.", 2), ("b/data.pkl", b"}.", 2)])
    yield "zip: sizes that differ", a.raw_zip([("archive/data.pkl", b"}.", 2_000_000_000)])
    yield "zip: more entries than there are", a.raw_zip([("a.npy", b"", 0)], declared=9)
    yield "zip: 65,535 entries", a.raw_zip([("a.npy", b"", 0)], declared=65_535)
    lied = bytearray(good)
    struct.pack_into("<L", lied, len(lied) - 6, 2**31)
    yield "zip: directory elsewhere", bytes(lied)
    yield "zip: overlapping members", _quoted()
    flipped = bytearray(a.torch_zip(a.proto(a.storage(numel=12)), {"data/0": a.tensor_bytes(12)}))
    flipped[bytes(flipped).index(a.tensor_bytes(12)) + 5] ^= 1
    yield "zip: one bit of a storage flipped", bytes(flipped)
    encrypted = bytearray(good)
    encrypted[good.index(b"PK\x01\x02") + 8] |= 1
    yield "zip: encrypted", bytes(encrypted)
    yield "zip bomb: storage", _packed("archive/data/0", b"\0" * 60_000_000, a.storage(numel=1))
    yield "zip bomb: pickle", _packed("archive/data.pkl", b"N" * 60_000_000)
    yield "zip bomb: npz", _packed("a.npy", a.npy("'<f4'", "(15000000,)", b"\0" * 60_000_000))
    yield "zip: of pictures", _packed("picture.png", b"\x89PNG")
    yield "zip: zip in zip", _packed("archive/inner.zip", good)
    yield "zip: very many extra fields", _padded(b"\x99\x99\0\0" * 16_000)
    yield "zip: members without end", a.raw_zip([(f"{i}.npy", b"", 0) for i in range(51_000)])
    wide = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, HUGE, HUGE, HUGE, 0)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 4, 1)
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 65_535, 65_535, 2**32 - 1, 2**32 - 1, 0)
    yield "zip64: absurd", b"PK\x03\x04" + wide + locator + end
    yield (
        "zip64: locator nowhere",
        b"PK\x03\x04" + b"PK\x06\x07" + struct.pack("<LQL", 0, HUGE, 1) + end,
    )


def _quoted() -> bytes:
    """A member whose content is, by the directory, another member with its header."""
    inner = a.raw_zip([("b.npy", b"x" * 100, 100)])
    header = inner[: inner.index(b"PK\x01\x02")]
    outer = bytearray(a.raw_zip([("a.npy", header, len(header)), ("b.npy", b"x" * 100, 100)]))
    second = outer.rindex(b"PK\x01\x02")
    struct.pack_into("<L", outer, second + 42, 30 + len("a.npy"))
    return bytes(outer)


def _padded(extra: bytes) -> bytes:
    """A torch zip with an entry that carries so many extra fields."""
    whole = bytearray(a.torch_zip(a.proto(a.storage(numel=1))))
    at = whole.index(b"PK\x01\x02")
    name = struct.unpack_from("<H", whole, at + 28)[0]
    struct.pack_into("<H", whole, at + 30, len(extra))
    size = struct.unpack_from("<L", whole, len(whole) - 10)[0]
    struct.pack_into("<L", whole, len(whole) - 10, size + len(extra))
    whole[at + 46 + name : at + 46 + name] = extra
    return bytes(whole)


def _packed(name: str, content: bytes, pickled: bytes | None = None) -> bytes:
    """A compressed zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
        if pickled is not None:
            file.writestr("archive/data.pkl", a.proto(pickled))
    return buffer.getvalue()


def _others() -> Files:
    def header(**entries) -> bytes:
        return json.dumps(entries).encode()

    def entry(dtype: str, shape: list, *offsets: int) -> dict:
        return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}

    body = b"\0" * 16
    for what, made in {
        "beyond the end": header(w=entry("F32", [8], 0, 32)),
        "reversed": header(w=entry("F32", [4], 16, 0)),
        "negative": header(w=entry("F32", [-4], 0, 16)),
        "another shape": header(w=entry("F32", [5], 0, 16)),
        "absurd shape": header(w=entry("F32", [HUGE, HUGE, 0], 0, 0)),
        "overlapping": header(a=entry("F32", [4], 0, 16), b=entry("F32", [2], 8, 16)),
        "gap": header(a=entry("F32", [1], 0, 4), b=entry("F32", [1], 12, 16)),
        "unknown type": header(w=entry("F999", [4], 0, 16)),
        "no list": header(w={"dtype": "F32", "shape": "4", "data_offsets": 16}),
        "numbers that are floats": header(w=entry("F32", [4.0], 0, 16)),
        "metadata that is no text": header(__metadata__={"a": [1]}),
        "a list": b"[1]",
        "no JSON": b"{" + b"x" * 40,
        "deep": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "digits": b'{"a":' + b"9" * 100_000 + b"}",
        "a name twice": b'{"w":' + b'{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{}}',
        "no UTF-8": b'{"\xff\xfe":1}',
    }.items():
        yield f"safetensors: {what}", a.safetensors(made, body)
    yield "safetensors: header beyond", a.safetensors(b"{}", length=2**63)
    yield "safetensors: header of everything", a.safetensors(b"{" * (9 << 20))
    yield "safetensors: empty header", a.safetensors(b"")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("../../storages")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    yield "tar", packed.getvalue()
    yield "gzip", b"\x1f\x8b\x08" + b"\0" * 40
    yield "web page", b"\n<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>"
    yield "LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 40
    yield "empty", b""
    yield "one byte", b"\x80"
    yield "zeros", b"\0" * 100_000
    yield "ones", b"\xff" * 100_000
    yield "newlines", b"\n" * 100_000
