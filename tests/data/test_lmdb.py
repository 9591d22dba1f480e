"""LMDB databases: keys in order, shared within a process, opened anew in others."""

import gc
import pickle
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from idinvert.data import source as source_module
from idinvert.data.datamodule import collate
from idinvert.data.folder import image_folder, read_images
from idinvert.data.source import LmdbSource, open_source
from idinvert.errors import DataError
from tests.data.pictures import picture, write_folder, write_lmdb

FILES = {f"{i * 37 % 100:02d}ab": picture(i, form="WEBP" if i % 2 else "PNG") for i in range(10)}


@pytest.fixture
def base(tmp_path):
    pytest.importorskip("lmdb")
    return write_lmdb(tmp_path / "tower_lmdb", {**FILES, "length": b"10"})


def test_values_come_back_under_their_keys_in_order(base):
    source = open_source(base, key="x")
    assert isinstance(source, LmdbSource)
    assert source.names == tuple(sorted(FILES))
    assert all(source.read(name) == data for name, data in FILES.items())
    alone = open_source(base / "data.mdb", key="x")  # the database's one file
    assert alone.names == source.names and alone.read("37ab") == FILES["37ab"]


def test_any_key_has_a_name_that_sorts_like_it(tmp_path):
    pytest.importorskip("lmdb")
    names = ["\x01", "a/b", "\x80\xff", "z", "ä"]
    source = open_source(write_lmdb(tmp_path / "x", dict.fromkeys(names, b"1")), key="x")
    assert list(source.names) == sorted(names) and source.read("\x80\xff") == b"1"


def test_a_database_is_a_domain_like_a_folder(base, tmp_path):
    root = write_folder(tmp_path / "as_files", {f"{k}.png": data for k, data in FILES.items()})
    settings = {"resolution": 16, "split": {"kind": "order", "train": 6, "test": 3}, "val": 1}
    one, two = (image_folder(path=path, **settings) for path in (base, root))
    assert one.fingerprint == two.fingerprint and len(one.train) == 6
    assert torch.equal(one.test[1]["image"], two.test[1]["image"])
    assert len(read_images(base, resolution=8)) == 10


def test_one_process_opens_it_as_often_as_it_likes(base):
    one, two = open_source(base, key="x"), open_source(base, key="x")
    three = pickle.loads(pickle.dumps(one))
    assert one.read("00ab") == two.read("00ab") == three.read("00ab") == FILES["00ab"]
    assert len(source_module._OPEN) == 1
    del one, two, three
    gc.collect()
    assert len(source_module._OPEN) == 0


def test_loader_processes_open_their_own(base):
    images = read_images(base, resolution=16)
    alone = torch.stack([images[i]["image"] for i in range(10)])  # open from here on
    loader = DataLoader(images, batch_size=2, num_workers=2, collate_fn=collate)
    assert torch.equal(torch.cat([batch["image"] for batch in loader]), alone)
    assert torch.equal(images[3]["image"], alone[3])


def test_the_stamp_follows_the_database(base):
    before = open_source(base, key="x").stamp("00ab")
    gc.collect()
    write_lmdb(base, {"00ab": picture(99)})
    assert open_source(base, key="x").stamp("00ab") != before


def test_what_is_no_database_is_said(tmp_path):
    pytest.importorskip("lmdb")
    for name, data in {"junk": b"junk" * 5000, "empty": b""}.items():
        path = write_folder(tmp_path / name, {"data.mdb": data})
        with pytest.raises(DataError, match=rf"cannot read .*{name}.*change `data\.path`"):
            open_source(path, key="data.path")
    with pytest.raises(DataError, match="holds no image"):
        open_source(write_lmdb(tmp_path / "bare", {}), key="x")
    base = write_lmdb(tmp_path / "one", {"a": b"1"})
    with pytest.raises(DataError, match="no such key"):
        open_source(base, key="x").read("b")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    path = write_folder(tmp_path / "tower_lmdb", {"data.mdb": b""})
    with pytest.raises(DataError, match=r"lmdb is not installed.*idinvert\[lsun\].*`data\.path`"):
        open_source(path, key="data.path")
