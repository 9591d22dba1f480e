"""FFHQ and LSUN: the paper's splits, by place in the order of the whole data set."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.data import paper_splits
from idinvert.data.prepare import prepare
from idinvert.data.split import draw
from idinvert.errors import ConfigError, DataError
from tests.data.pictures import picture, write_folder, write_lmdb, write_zip

DIGESTS = {
    "ffhq256": "89d4262702316af2b0e7f09e14b1d333a315fc6ce222bf54b98078e23868d3b0",
    "lsun_tower256": "d7fb75e6b70b9f0f7767765dfcfb7c7868eebacb855b1cad538d126376814149",
    "lsun_bedroom256": "cbb1221c25a862797f9349d3642a62afdc50718f38fcf468e8bf24fd7021c2a2",
    "lsun_church256": "03d06870d9a6edb2daa79ca452f4e64c53bd21a93adfca2db1d79077417bf95f",
}
"""Pinned for ever: figures measured on these splits stand in papers."""


def whole(split, *, val: int = 500):
    return split.places(images=split.images, train=split.train, test=split.test, val=val)


@pytest.mark.parametrize("split", paper_splits.PUBLISHED.values(), ids=paper_splits.PUBLISHED)
def test_the_papers_splits(split):
    train, val, test = whole(split)
    assert (len(train), len(val), len(test)) == (split.train, 500, 5_000)
    assert not set(train) & set(test) and not set(val) & set(test)
    assert max(train) < split.first <= min(test) and max(test) < split.images
    for part in (train, val, test):
        assert part == sorted(set(part))
    lines = "".join(f"{p}\n" for p in train) + "\n" + "".join(f"{p}\n" for p in test) + "\n"
    assert hashlib.sha256(lines.encode()).hexdigest() == split.digest == DIGESTS[split.name]


def test_ffhq_is_divided_by_order():
    train, val, test = whole(paper_splits.FFHQ)
    assert train == list(range(65_000)) and test == list(range(65_000, 70_000))
    assert val == list(range(64_500, 65_000))  # nothing is left over
    held_out = paper_splits.FFHQ.places(images=70_000, train=64_500, test=5_000, val=500)
    assert held_out.train == list(range(64_500)) and held_out.val == val
    assert whole(paper_splits.FFHQ, val=0).val == []


def test_lsun_validates_on_what_was_not_drawn():
    for split in (paper_splits.TOWER, paper_splits.BEDROOM, paper_splits.CHURCH):
        train, val, _ = whole(split)
        assert not set(train) & set(val) and max(val) < split.first
        assert whole(split, val=0).train == train


def test_a_smaller_draw_is_part_of_the_papers():
    train, _, test = whole(paper_splits.TOWER)
    some = paper_splits.TOWER.places(
        images=paper_splits.TOWER.images, train=1_000, test=5_000, val=10
    )
    assert set(some.train) < set(train) and some.test == test
    assert len(some.train) == 1_000 and max(some.train) > 590_000


def test_the_draw_follows_its_words():
    expected: list[int] = []
    block = 0
    while len(expected) < 50:
        digest = hashlib.sha256(f"some words/{block}".encode()).digest()
        for number in (int.from_bytes(digest[8 * j : 8 * j + 8], "big") % 60 for j in range(4)):
            if number not in expected and len(expected) < 50:
                expected.append(number)
        block += 1
    assert draw(50, below=60, words="some words") == expected
    assert draw(50, below=60, words="other words") != expected
    assert sorted(draw(60, below=60, words="x")) == list(range(60))
    with pytest.raises(ValueError, match="61 distinct numbers below 60"):
        draw(61, below=60, words="x")


def test_a_machine_that_draws_otherwise_is_refused():
    other = dataclasses.replace(paper_splits.CHURCH, digest="0" * 64)
    with pytest.raises(DataError, match="another split than the stored one"):
        whole(other)


FILES = {f"{i:05d}.png": picture(i) for i in range(40)}
SIZES = {"images": 40, "first": 30, "train": 12, "test": 4}


def expected(split) -> tuple[list[int], list[int]]:
    """Training and test places of a drawn data set, written out."""
    train = draw(split.train, below=split.first, words=f"idinvert/{split.name}/train")
    rest = draw(split.test, below=split.images - split.first, words=f"idinvert/{split.name}/test")
    return sorted(train), sorted(split.first + place for place in rest)


@pytest.fixture
def small(monkeypatch):
    """Data sets of 40 pictures, divided by the same rules."""
    ffhq = dataclasses.replace(paper_splits.FFHQ, images=40, first=36, train=36, test=4)
    ffhq = dataclasses.replace(ffhq, digest=paper_splits.digest_of(range(36), range(36, 40)))
    tower = dataclasses.replace(paper_splits.TOWER, **SIZES)
    tower = dataclasses.replace(tower, digest=paper_splits.digest_of(*expected(tower)))
    for key, split in (("FFHQ", ffhq), ("TOWER", tower)):
        monkeypatch.setattr(paper_splits, key, split)
        monkeypatch.setitem(paper_splits.PUBLISHED, split.name, split)


def faces(path: Path, **changes):
    return paper_splits.paper_data(
        paper_splits.FFHQ,
        **{"path": path, "resolution": 16, "train": 36, "test": 4, "val": 3, **changes},
    )


def towers(path: Path, **changes):
    settings = {"path": path, "resolution": 16, "train": 12, "test": 4, "val": 3}
    return paper_splits.paper_data(paper_splits.TOWER, **{**settings, **changes})


def places(part) -> list[int]:
    """Of a split's images, by their names."""
    return [int(Path(part[i]["name"]).stem.removeprefix("img")) for i in range(len(part))]


def test_folder_zip_and_nvlabs_zip_are_one_data_set(small, tmp_path):
    labels = json.dumps({"labels": [["00000/img00000003.png", 1], ["00000/img00000001.png", 0]]})
    nvlabs = {f"00000/img000{name}": data for name, data in FILES.items()}
    domains = [
        faces(write_folder(tmp_path / "images", FILES)),
        faces(write_zip(tmp_path / "images.zip", FILES)),
        faces(write_zip(tmp_path / "nv.zip", {**nvlabs, "dataset.json": labels.encode()})),
    ]
    for domain in domains:
        assert (domain.name, domain.resolution) == ("ffhq256", 16)
        assert places(domain.train) == list(range(36)) and places(domain.val) == [33, 34, 35]
        assert places(domain.test) == [36, 37, 38, 39]
        assert domain.test[0]["id"] == 36
    assert len({domain.fingerprint for domain in domains}) == 1


def test_a_database_is_divided_by_the_order_of_keys(small, tmp_path):
    pytest.importorskip("lmdb")
    files = {hashlib.sha1(name.encode()).hexdigest(): data for name, data in FILES.items()}
    domain = towers(write_lmdb(tmp_path / "tower_train_lmdb", files))
    train, test = expected(paper_splits.TOWER)
    keys = sorted(files)
    assert [domain.train[i]["name"] for i in range(12)] == [keys[place] for place in train]
    assert [domain.test[i]["name"] for i in range(4)] == [keys[place] for place in test]
    assert len(domain.val) == 3 and domain.name == "lsun_tower256"


def test_only_the_images_of_the_split_are_looked_at(small, tmp_path):
    train, _, test = paper_splits.TOWER.places(images=40, train=12, test=4, val=3)
    unused = next(i for i in range(30) if i not in train)
    damaged = {**FILES, f"{unused:05d}.png": b"broken"}
    if unused in places(towers(write_folder(tmp_path / "whole", FILES)).val):
        unused = next(i for i in range(30, 40) if i not in test)
    damaged = {**FILES, f"{unused:05d}.png": b"broken"}
    assert len(towers(write_folder(tmp_path / "damaged", damaged)).train) == 12


def test_another_number_of_images_is_refused_and_said(small, tmp_path):
    few = write_folder(tmp_path / "few", dict(list(FILES.items())[:30]))
    with pytest.raises(
        DataError, match=r"got 30 images.*expected the 40 of FFHQ.*`data\.path`"
    ) as e:
        faces(few)
    assert "`data.train` and `data.test`" in str(e.value)
    domain = faces(few, train=20, test=5, val=2)
    assert places(domain.train) == list(range(20)) and places(domain.test) == list(range(25, 30))
    assert places(domain.val) == [20, 21]
    domain = towers(few, train=20, test=5, val=2)
    assert len(domain.train) == 20 and max(places(domain.train)) < 25
    assert places(domain.test) == list(range(25, 30))
    with pytest.raises(
        DataError, match=r"got 30 images.*at least 28 to train on.*25 and 5 to test"
    ):
        faces(few, train=28, test=5)
    with pytest.raises(ConfigError, match=r"got 0, expected at least 1; change `data\.train`"):
        faces(few, train=0)
    with pytest.raises(ConfigError, match=r"`data\.val`"):
        faces(few, val=-1)


def test_numbers_of_different_lengths_are_refused(small, tmp_path):
    files = {f"{i}.png": picture(i) for i in range(40)}
    with pytest.raises(DataError, match=r"9\.png.*numbers of one length"):
        faces(write_folder(tmp_path / "unpadded", files))


def test_duplicates_in_test_leave_training_but_watched_images_stay(small, tmp_path):
    root = write_folder(tmp_path / "twins", {**FILES, "00002.png": picture(38)})
    with pytest.warns(UserWarning, match=r"removed 1 images from train.*00002\.png"):
        domain = faces(root)
    assert places(domain.train) == [i for i in range(36) if i != 2]
    assert places(domain.val) == [33, 34, 35]


def test_what_was_prepared_keeps_its_places(small, tmp_path):
    train, test = expected(paper_splits.TOWER)
    files = {**FILES, f"{train[0]:05d}.png": b"broken", f"{test[1]:05d}.png": picture(0, width=9)}
    root = write_folder(tmp_path / "raw", files)
    out = tmp_path / "towers.zip"
    prepare(root, out, resolution=16)
    with pytest.warns(UserWarning, match=r"2 images of the split of LSUN tower were dropped"):
        domain = towers(out)
    assert places(domain.train) == train[1:]
    assert places(domain.test) == [test[0], *test[2:]]
    # Without the report there is nothing to go by.
    with pytest.raises(DataError, match="got 38 images"):
        towers(write_zip(tmp_path / "bare.zip", dict(list(FILES.items())[:38])))


def test_only_the_images_of_a_split_are_prepared(small, tmp_path):
    root = write_folder(tmp_path / "raw", FILES)
    split = paper_splits.TOWER.places(images=40, train=12, test=4, val=500)
    split = {place for part in split for place in part}
    report = prepare(root, tmp_path / "some.zip", resolution=16, only="lsun_tower256")
    assert report["images"] == 40 and report["looked_at"] == report["kept"] == len(split)
    one, all_of_it = (towers(path, val=500) for path in (tmp_path / "some.zip", root))
    for part in ("train", "val", "test"):
        assert places(getattr(one, part)) == places(getattr(all_of_it, part))
    prepare(root, tmp_path / "first.zip", resolution=16, limit=39)
    with pytest.raises(DataError, match="got 39 images"):
        towers(tmp_path / "first.zip")
    with pytest.raises(DataError, match=r"prepared without 24 images of this split"):
        faces(tmp_path / "some.zip")
    with pytest.raises(DataError, match=r"got 39 images.*expected the 40 of LSUN tower.*--only"):
        short = write_folder(tmp_path / "short", dict(list(FILES.items())[:39]))
        prepare(short, tmp_path / "x.zip", resolution=16, only="lsun_tower256")


@pytest.mark.parametrize("name", paper_splits.PUBLISHED)
def test_the_configuration_is_the_papers(name, tmp_path):
    root = write_folder(tmp_path / "few", dict(list(FILES.items())[:9]))
    words = [f"data={name}", f"data.path={root}", "data.resolution=8"]
    node = compose_plain("train", words)["data"]
    split = paper_splits.PUBLISHED[name]
    assert (node["train"], node["test"], node["val"]) == (split.train, split.test, 500)
    with pytest.raises(DataError, match=rf"got 9 images.*expected the {split.images:,} of"):
        build(node, key="data")
    node = compose_plain("train", [*words, "data.train=4", "data.test=3", "data.val=1"])["data"]
    domain = build(node, key="data")
    assert (domain.name, len(domain.train), len(domain.test)) == (name, 4, 3)


def test_church_has_a_boundary_of_its_own():
    assert (
        paper_splits.CHURCH.images == 126_227 < paper_splits.TOWER.first == 600_000
        and paper_splits.CHURCH.first == 120_000
    )
    assert "Differs from the paper" in str(paper_splits.paper_data.__doc__)
