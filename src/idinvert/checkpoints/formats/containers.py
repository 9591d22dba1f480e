"""Torch's zip and stream, pickles, ``.npy`` and ``.npz``: detected by content, read as records."""

import io
import mmap
import pickle
import re
import zipfile
from collections.abc import Mapping
from typing import IO, Any

from idinvert.checkpoints.formats import records
from idinvert.checkpoints.formats.names import NAMES, STORAGES
from idinvert.errors import CheckpointError
from idinvert.untrusted import shown

EXPECTED = "expected safetensors, a torch file, a pickle, .npy or .npz"

_FOREIGN = {
    b"\x1f\x8b": "is compressed with gzip; unpack it first",
    b"BZh": "is compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "is compressed with xz; unpack it first",
    b"Rar!": "is a RAR archive; unpack it first",
    b"7z\xbc\xaf": "is a 7z archive; unpack it first",
    b"\x89HDF": "is an HDF5 file (Keras), which is not read",
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself; run git lfs pull",
    b"<": "is a web page, so the download failed",
}
"""First bytes of files that are mistaken for checkpoints."""

_STREAM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_STREAM_PROTOCOL = 1001
_NPY = b"\x93NUMPY"
_NPY_HEADER = 4_096  # bytes; NumPy's are 118
_NPY_FIELDS = re.compile(
    r"\{'descr': '([^']{1,16})', 'fortran_order': (True|False), "
    r"'shape': \(([\d ,L]{0,512})\),? ?\}[ \n]*"
)  # a literal, not evaluated; NumPy writes its keys in this order
_NPY_SIZE = re.compile(r"(\d{1,15})L?")  # Python 2 wrote long integers with an L
_MEMBERS = 50_000


def read(data: mmap.mmap, file: IO[bytes]) -> tuple[str, Any]:
    """Returns the container's kind (see `Archive`) and its content as records.

    Args:
        data: The file in memory; reads never request more than is left.
        file: The same file, for `zipfile`.

    Raises:
        CheckpointError: Unknown container, a damaged file, or a name outside the allow-list.
    """
    head = data[:512]
    if head.startswith(b"PK"):
        return _read_zip(file)
    if head.startswith(_NPY):
        return "npy", _read_npy(data)
    if head.startswith(_STREAM):
        return "torch_legacy", _read_stream(data, NAMES | _NESTED)
    for start, what in _FOREIGN.items():
        if head.lstrip().startswith(start):
            raise CheckpointError(f"{what}; {EXPECTED}")
    if head[257:262] == b"ustar":
        raise CheckpointError(
            f"is a tar archive (torch before 0.2, or packed files), which is not read; {EXPECTED}"
        )
    if head[:1] not in (b"\x80", b"(", b"}", b"]", b"c"):  # protocols 0 and 1 have no marker
        raise CheckpointError(f"starts with {shown(str(head[:8]))}, {EXPECTED}")
    value = _Unpickler(data, NAMES | _NESTED).load()
    _require_end(data)
    return "pickle", value


class _Unpickler(pickle.Unpickler):
    """Python's unpickler, restricted to the names of a table, with records in place of objects.

    Args:
        file: Read from its current position to the end of one pickle.
        names: Allowed globals, by module and name.
        storages: Finds storages by persistent id; None if nothing outside the pickle is allowed.
    """

    def __init__(
        self, file: Any, names: Mapping[tuple[str, str], Any], storages: Any = None
    ) -> None:
        super().__init__(file, encoding="latin-1")
        self.names, self.storages = names, storages

    def find_class(self, module: Any, name: Any) -> Any:
        """Returns the table's entry, or an inert class of that name; nothing is imported."""
        found = self.names.get((module, name))
        if found is None:
            records.budget.spend_classes(1)
            own = {"module": module, "name": name, "path": f"{module}.{name}"}
            found = type("Module", (records.Module,), own)
            self.names = {**self.names, (module, name): found}
        return found

    def persistent_load(self, identity: Any) -> Any:
        """Returns the storage ``("storage", class, key, location, elements, ...)``, or a class."""
        if self.storages is None:
            raise CheckpointError("refers to an object outside its pickle, expected none here")
        if isinstance(identity, tuple) and 5 <= len(identity) <= 6:
            what, kind, key, _, count = identity[:5]
            known = (
                isinstance(kind, records.Name)
                and "Storage" in kind.path
                and kind.value in records.ITEM_BYTES
            )
            if what == "storage" and known and isinstance(key, str):
                if identity[5:] not in ((), (None,)):
                    raise CheckpointError("has a storage that is part of another")
                return self.storages.find(key, count, kind.value)
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            kind = identity[1]  # a class, with its source file and text
            if isinstance(kind, type) and issubclass(kind, records.Module):
                return kind
        raise CheckpointError(
            "refers to an object outside its pickle that is no storage; not followed"
        )


def _require_end(file: Any) -> None:
    at = file.tell()
    file.seek(0, 2)
    if file.tell() != at:
        raise CheckpointError(f"has {file.tell() - at:,} bytes after its end (damaged)")


class _Stream:
    """The storages of torch's stream: named in its pickle, their bytes follow it."""

    def __init__(self) -> None:
        self.named: dict[str, records.Storage] = {}

    def find(self, key: str, count: Any, dtype: str) -> records.Storage:
        """Returns the storage of a key, whose size and dtype must not change."""
        found = self.named.setdefault(key, records.Storage(count, dtype))
        if (found.count, found.dtype) != (count, dtype):
            raise CheckpointError(f"gives its storage {shown(key)} two sizes or types (damaged)")
        return found

    def fill(self, file: Any, keys: Any) -> None:
        """Reads the storages, in the order of their keys."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise CheckpointError("has no list of its storages (damaged)")
        if len(set(keys)) != len(keys) or set(keys) != self.named.keys():
            raise CheckpointError("lists other storages than its tensors use (damaged)")
        for key in keys:
            storage = self.named[key]
            count = int.from_bytes(file.read(8), "little", signed=True)
            storage.data = file.read(storage.size)
            if count != storage.count or len(storage.data) != storage.size:
                raise CheckpointError(
                    f"ends inside its storage {shown(key)}, or gives it another size (truncated)"
                )


def _read_stream(file: Any, names: Mapping[tuple[str, str], Any]) -> Any:
    """Reads torch's stream before 1.6 (also nested in NVlabs' files): five pickles and storages."""
    if file.read(len(_STREAM)) != _STREAM:
        raise CheckpointError("has nested data that is not torch's stream; it was not run")
    protocol, system = _Unpickler(file, {}).load(), _Unpickler(file, {}).load()
    little = system.get("little_endian") if isinstance(system, dict) else None
    if protocol != _STREAM_PROTOCOL or little is not True:
        raise CheckpointError(
            f"is torch's stream of protocol {shown(str(protocol))}, expected {_STREAM_PROTOCOL} "
            "from a little-endian machine"
        )
    storages = _Stream()
    value = _Unpickler(file, names, storages).load()
    storages.fill(file, _Unpickler(file, {}).load())
    _require_end(file)
    return value


def _load_from_bytes(raw: Any) -> records.Storage:
    """Replaces ``torch.storage._load_from_bytes``, which unpickles anything; reads one storage."""
    if not isinstance(raw, bytes):
        raise CheckpointError("has a nested storage that is not given by its bytes (damaged)")
    names = {key: records.Name(*key, value=value) for key, value in STORAGES.items()}
    value = _read_stream(io.BytesIO(raw), names)
    if not isinstance(value, records.Storage):
        raise CheckpointError(f"has {shown(value)} where a nested storage is expected")
    return value


_NESTED = {
    ("torch.storage", "_load_from_bytes"): records.Name(
        "torch.storage", "_load_from_bytes", call=_load_from_bytes
    )
}


def _read_zip(file: IO[bytes]) -> tuple[str, Any]:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, file)
        roots = [name[:-8] for name in members if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(roots) == 1:
            return "torch_zip", _read_torch_zip(archive, members, roots[0])
        if members and all(name.endswith(".npy") for name in members):
            return "npz", _read_npz(archive, members)
    some = ", ".join(shown(name) for name in sorted(members)[:3]) or "nothing"
    raise CheckpointError(f"is a zip that holds {some}, {EXPECTED}")


def _members(archive: zipfile.ZipFile, file: IO[bytes]) -> dict[str, zipfile.ZipInfo]:
    """Returns the zip's files by name; refuses overlaps, duplicates and unsafe paths."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    if len(entries) > _MEMBERS:
        raise CheckpointError(f"is a zip of {len(entries):,} files, expected at most {_MEMBERS:,}")
    ends = [entry.header_offset for entry in entries[1:]] + [archive.start_dir]
    for entry, end in zip(entries, ends, strict=True):
        name = entry.filename
        begin = entry.header_offset + 30 + len(name.encode("utf-8", "surrogateescape"))
        if begin + entry.compress_size > end or entry.header_offset < 0:
            raise CheckpointError("is a zip whose files overlap (a zip bomb, or damaged)")
        if entry.flag_bits & 1 or entry.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise CheckpointError(f"is a zip with {shown(name)} encrypted or packed in a rare way")
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise CheckpointError(f"is a zip with a path outside of it: {shown(name)}")
    found = {entry.filename: entry for entry in entries}
    if len(found) != len(entries):
        raise CheckpointError("is a zip with two files of one name")
    file.seek(-min(65_557, file.seek(0, 2)), 2)
    tail = file.read()
    if len(tail) - tail.rfind(b"PK\5\6") != 22 + len(archive.comment):
        raise CheckpointError("is a zip with bytes after its end (damaged)")
    return {name: entry for name, entry in found.items() if not name.endswith("/")}


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Returns a member's bytes, unpacked within bounds; `zipfile` verifies the checksum."""
    records.budget.spend_bytes(entry.file_size)
    try:
        with archive.open(entry) as member:
            found = member.read(entry.file_size + 1)
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(
            f"is damaged: size or checksum of {shown(entry.filename)} is not what its directory "
            f"says ({shown(str(error))})"
        ) from None
    if len(found) != entry.file_size:
        raise CheckpointError(f"is damaged: {shown(entry.filename)} ends early")
    return found


class _Members:
    """The storages of torch's zip: one stored member each, read at its first use."""

    def __init__(
        self, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], root: str
    ) -> None:
        self.archive, self.members, self.root = archive, members, f"{root}data/"
        self.read: dict[str, bytes] = {}

    def find(self, key: str, count: Any, dtype: str) -> records.Storage:
        """Returns the storage of a key; a file may use its bytes with several dtypes."""
        member = self.members.get(self.root + key)
        if member is None or member.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"has no stored data for its storage {shown(key)}")
        if type(count) is not int or count * records.ITEM_BYTES[dtype] != member.file_size:
            raise CheckpointError(
                f"declares {shown(str(count))} elements of {dtype} for a storage of "
                f"{member.file_size:,} bytes"
            )
        if key not in self.read:
            self.read[key] = _content(self.archive, member)
        return records.Storage(count, dtype, self.read[key])


def _read_torch_zip(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], root: str
) -> Any:
    if f"{root}constants.pkl" in members or any(n.startswith(f"{root}code/") for n in members):
        raise CheckpointError("is a TorchScript program, expected a checkpoint of tensors")
    order = members.get(f"{root}byteorder")
    if order and _content(archive, order) != b"little":
        raise CheckpointError("was written on a big-endian machine, expected little-endian")
    file = io.BytesIO(_content(archive, members[f"{root}data.pkl"]))
    value = _Unpickler(file, NAMES | _NESTED, _Members(archive, members, root)).load()
    _require_end(file)
    return value


def _read_npz(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> dict[str, Any]:
    found = {}
    for name, member in members.items():
        try:
            found[name.removesuffix(".npy")] = _read_npy(io.BytesIO(_content(archive, member)))
        except CheckpointError as error:
            raise CheckpointError(f"its member {shown(name)} {error}") from None
    return found


def _read_npy(file: Any) -> Any:
    """Returns an array; for pickled objects, the single object or nested lists of them."""
    magic = file.read(8)
    if magic not in (_NPY + b"\1\0", _NPY + b"\2\0", _NPY + b"\3\0"):
        raise CheckpointError("is no .npy file of version 1, 2 or 3 (damaged)")
    length = int.from_bytes(file.read(2 if magic[6] == 1 else 4), "little")
    text = file.read(min(length, _NPY_HEADER)).decode("latin-1")
    header = _NPY_FIELDS.fullmatch(text)
    if header is None or len(text) != length:
        raise CheckpointError(f"has the header {shown(text)}, expected an array of plain numbers")
    descr, fortran, sizes = header.groups()
    parts = [_NPY_SIZE.fullmatch(size.strip()) for size in sizes.split(",") if size.strip()]
    shape = tuple(int(part[1]) if part else -1 for part in parts)
    dtype = records.DType(descr)
    if not dtype.objects:
        return records.Array().fill(file.read(), dtype, shape, "F" if fortran == "True" else "C")
    value = _Unpickler(file, NAMES | _NESTED).load()
    if not isinstance(value, records.Array) or value.dtype is None or value.shape != shape:
        raise CheckpointError(f"has {shown(value)} pickled where its header says an object array")
    _require_end(file)
    return value
