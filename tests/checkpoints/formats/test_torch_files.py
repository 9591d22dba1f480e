"""Torch's containers, old and new: every tensor as torch saved it, in memory of its own."""

import argparse
import collections
import io
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError

KEY = "generator.path"
KINDS = {"torch_zip": True, "torch_legacy": False}


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


def round_trip(content: Any, kind: str, tmp_path: Path) -> Any:
    path = tmp_path / "file.pt"
    torch.save(content, path, _use_new_zipfile_serialization=KINDS[kind])
    archive = read_archive(path, key=KEY)
    assert (archive.kind, archive.path, archive.metadata) == (kind, path, {})
    return archive.content


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
     torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64],
)  # fmt: skip
def test_every_type(dtype, kind, tmp_path):
    expected = torch.arange(-3, 9).reshape(3, 4).to(dtype)
    found = round_trip({"w": expected}, kind, tmp_path)["w"]
    assert found.dtype == dtype and torch.equal(found, expected)


def test_every_layout_of_a_tensor(kind, tmp_path):
    base = torch.arange(60.0).reshape(3, 4, 5)
    expected = {
        "whole": base,
        "turned": base.permute(2, 0, 1),
        "part": base[1:, ::2, 1:4],
        "scalar": base[1, 2, 3],
        "expanded": base[:1, :1, :1].expand(3, 4, 5),
        "none": torch.empty(0, 4),
        "parameter": nn.Parameter(base[0].clone()),
    }
    found = round_trip(expected, kind, tmp_path)
    for name, tensor in expected.items():
        assert type(found[name]) is torch.Tensor and not found[name].requires_grad
        assert torch.equal(found[name], tensor), name
    assert found["whole"].data_ptr() == found["turned"].data_ptr()  # memory stays shared …
    found["expanded"][0, 0, 0] = 7
    assert found["expanded"].sum() == 7 and found["whole"][0, 0, 0] == 0  # … but never overlaps


def test_the_content_outlives_its_file(kind, tmp_path):
    found = round_trip({"w": torch.ones(1000)}, kind, tmp_path)
    (tmp_path / "file.pt").write_bytes(b"")
    found["w"] += 1
    assert found["w"].sum() == 2000


def test_containers_become_plain(kind, tmp_path):
    layer = nn.Linear(2, 3)
    content = {
        "g": layer.state_dict(),
        "args": argparse.Namespace(size=8, lr=[1e-4, 2]),
        "tuple": (1, "a", None, True, 2.5, -(2**70), b"\x00\xff", 1 + 2j),
        "default": collections.defaultdict(list, {"x": [1]}),
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
        "queue": collections.deque([1, 2], maxlen=3),
        "sets": [{1, 2}, frozenset({"a"}), set()],
        "path": Path("/a/b"),
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda", 1),
        "dtype": torch.float16,
        "numbers": [np.float64(0.5), np.int64(7), np.bool_(True)],
        "array": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "optimiser": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
        94_000_000_000_000: "old optimisers count by address",
    }
    found = round_trip(content, kind, tmp_path)
    assert type(found["g"]) is dict and list(found["g"]) == ["weight", "bias"]
    assert torch.equal(found["g"]["weight"], layer.weight)
    assert found["args"] == {"size": 8, "lr": [1e-4, 2]} and type(found["args"]) is dict
    assert found["tuple"] == content["tuple"] and type(found["tuple"]) is tuple
    assert found["default"] == {"x": [1]} and type(found["default"]) is dict
    assert list(found["ordered"]) == ["b", "a"] and type(found["ordered"]) is dict
    assert found["queue"] == [1, 2] and found["sets"] == [{1, 2}, {"a"}, set()]
    assert (found["path"], found["size"], found["device"]) == ("/a/b", (2, 3), "cuda:1")
    assert found["dtype"] == "torch.float16"
    assert found["numbers"] == [0.5, 7, True]
    assert [type(number) for number in found["numbers"]] == [float, int, bool]
    assert np.array_equal(found["array"], content["array"]) and found["array"].flags.writeable
    assert found["optimiser"]["state"][0]["step"] == 1
    assert found[94_000_000_000_000].startswith("old")


def test_a_truncated_file_at_every_length(kind, tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=KINDS[kind])
    whole = path.read_bytes()
    for size in (*range(0, len(whole) - 24, 7), *range(len(whole) - 24, len(whole))):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=f"change {KEY}"):
            read_archive(path, key=KEY)


def test_any_flipped_bit_of_a_zipped_tensor_is_found(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"w": torch.full((4,), 1.5)}, path)
    whole = path.read_bytes()
    at = whole.index(torch.full((4,), 1.5).numpy().tobytes())
    for bit in range(8 * 16):
        damaged = bytearray(whole)
        damaged[at + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="checksum"):
            read_archive(path, key=KEY)


def test_unread_members_do_not_matter_and_zipfile_agrees(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"w": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("file/notes.txt", "written by hand")
    assert torch.equal(read_archive(path, key=KEY).content["w"], torch.ones(3))


def test_sizes_in_64_bits(tmp_path):
    """The wide form that files above 4 GB have, put on a small one by hand."""
    source, path = io.BytesIO(), tmp_path / "file.pt"
    torch.save({"w": torch.ones(3)}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    whole = bytearray(path.read_bytes())
    end = whole.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<H2L", whole, end + 10)
    wide = b"PK\x06\x06" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, size, start)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, end, 1)
    struct.pack_into("<2H2L", whole, end + 8, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1)
    whole[end:end] = wide + locator
    for at in [entry.start() for entry in re.finditer(b"PK\x01\x02", bytes(whole))][::-1]:
        packed, size, name_size, extra = struct.unpack_from("<2L2H", whole, at + 20)
        header = struct.unpack_from("<L", whole, at + 42)[0]
        body = struct.pack("<2H3Q", 1, 24, size, packed, header)
        ones = 2**32 - 1
        struct.pack_into("<2L2H", whole, at + 20, ones, ones, name_size, extra + len(body))
        struct.pack_into("<L", whole, at + 42, ones)
        whole[at + 46 + name_size : at + 46 + name_size] = body
        _grow_directory(whole, len(body))
    path.write_bytes(whole)
    assert torch.equal(read_archive(path, key=KEY).content["w"], torch.ones(3))
    with zipfile.ZipFile(path) as again:  # Python agrees with how it was written
        assert again.testzip() is None


def _grow_directory(whole: bytearray, more: int) -> None:
    """The end records, after so many bytes were put into the directory."""
    wide = whole.rindex(b"PK\x06\x06")
    size = struct.unpack_from("<Q", whole, wide + 40)[0]
    struct.pack_into("<Q", whole, wide + 40, size + more)
    locator = whole.rindex(b"PK\x06\x07")
    struct.pack_into("<Q", whole, locator + 8, wide)


def test_a_big_endian_file_is_refused(tmp_path):
    source, path = io.BytesIO(), tmp_path / "file.pt"
    torch.save({"w": torch.ones(3)}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name.endswith("byteorder") else old.read(name))
    with pytest.raises(CheckpointError, match="big-endian"):
        read_archive(path, key=KEY)


def test_an_archive_says_what_it_is():
    archive = Archive(kind="npy", path=Path("x"), content=1)
    with pytest.raises(AttributeError):
        archive.kind = "npz"  # type: ignore[misc]
