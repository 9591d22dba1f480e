"""NumPy files, safetensors, and files that are no checkpoint at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError

KEY = "direction.path"


def read(path: Path) -> Archive:
    return read_archive(path, key=KEY)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 14, 512), (0, 4)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i8", "|b1"])
def test_npy(dtype, shape, tmp_path):
    expected = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for order in (expected, np.asfortranarray(expected)):
        np.save(tmp_path / "a.npy", order)
        archive = read(tmp_path / "a.npy")
        assert archive.kind == "npy" and np.array_equal(archive.content, order)
        assert archive.content.shape == order.shape and archive.content.dtype.isnative


def test_npy_as_python_2_wrote_it(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 2L), }".ljust(117) + b"\n"
    body = np.array([1, 2], np.float32).tobytes()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([118, 0]) + header + body)
    assert read(tmp_path / "a.npy").content.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("dtype", "shape", "body"),
    [
        (b"<f4", b"(0, 140737488355328, 140737488355328)", b""),  # more than NumPy can count
        (b"<U1", b"(1,)", b"\xff\xff\xff\x7f"),  # no Unicode
    ],
)
def test_an_npy_that_numpy_cannot_hold(dtype, shape, body, tmp_path):
    header = b"{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (dtype, shape)
    start = b"\x93NUMPY\x01\x00" + bytes([128, 0]) + header.ljust(127) + b"\n"
    (tmp_path / "a.npy").write_bytes(start + body)
    with pytest.raises(CheckpointError, match=f"is damaged.*change {KEY}"):
        read(tmp_path / "a.npy")


def test_a_pickled_npy_is_its_object(tmp_path):
    boundary: dict[str, Any] = {"boundary": np.ones((1, 14, 4)), "manipulate_layers": [2, 3]}
    np.save(tmp_path / "a.npy", boundary, allow_pickle=True)  # type: ignore[arg-type]
    found = read(tmp_path / "a.npy").content
    assert np.array_equal(found["boundary"], boundary["boundary"])
    assert found["manipulate_layers"] == [2, 3]


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz(write, tmp_path):
    write(tmp_path / "a.npz", lat_comp=np.ones((80, 1, 8)), names=np.array(["a", "bc"]),
          old=np.array([b"x"]), meta=np.array({"k": 1}, dtype=object))  # fmt: skip
    archive = read(tmp_path / "a.npz")
    assert archive.kind == "npz" and np.array_equal(
        archive.content["lat_comp"], np.ones((80, 1, 8))
    )
    assert archive.content["names"] == ["a", "bc"] and archive.content["old"] == ["x"]
    assert archive.content["meta"] == {"k": 1}


def test_safetensors(tmp_path):
    types = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
             torch.int16, torch.int8, torch.uint8, torch.bool)  # fmt: skip
    expected = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in types}
    expected |= {"scalar": torch.tensor(2.5), "none": torch.empty(0, 3)}
    save_file(expected, tmp_path / "a.safetensors", metadata={"format": "x", "class": "y"})
    archive = read(tmp_path / "a.safetensors")
    assert archive.kind == "safetensors" and archive.metadata == {"format": "x", "class": "y"}
    assert archive.content.keys() == expected.keys()
    for name, tensor in expected.items():
        assert archive.content[name].dtype == tensor.dtype
        assert torch.equal(archive.content[name], tensor), name


def test_the_name_of_a_file_does_not_matter(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "a.safetensors")
    np.save(tmp_path / "a.npy", np.ones(1))
    (tmp_path / "a.npy").rename(tmp_path / "a.pt")
    kinds = read(tmp_path / "a.safetensors").kind, read(tmp_path / "a.pt").kind
    assert kinds == ("torch_zip", "npy")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "web page, so the download failed"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip; unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"hello", "starts with"),
    ],
)
def test_what_people_take_for_checkpoints(content, words, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        read(tmp_path / "a.pt")
    assert str(tmp_path / "a.pt") in str(caught.value) and f"change {KEY}" in str(caught.value)
    assert "expected safetensors, a torch file, a pickle, .npy or .npz" in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match=f"no such file.*change {KEY}"):
        read(tmp_path / "missing.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        read(tmp_path)
