"""Folders and zip archives: listing, splits, leaks, damage, the index."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from idinvert.data import scan as scan_module
from idinvert.data.datamodule import collate
from idinvert.data.folder import image_folder, read_images
from idinvert.errors import ConfigError, CorruptImageError, DataError

ORDER = {"kind": "order", "train": 5, "test": 3}


def picture(seed: int, size: int = 16, kind: str = "PNG") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def written(root: Path, names: Iterable[str]) -> Path:
    """A folder with a picture of each name."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(i))
    return root


@pytest.fixture
def photos(tmp_path):
    """Ten images in nested folders, with litter."""
    names = [f"{i:02d}.{'PNG' if i % 2 else 'png'}" for i in range(10)]
    places = [("a/" if i < 4 else "b/c/") + name for i, name in enumerate(names)]
    root = written(tmp_path / "photos", places)
    (root / "readme.txt").write_text("no image")
    (root / "a" / "._00.png").write_bytes(b"litter")
    return root


def make(path: Path, **changes):
    settings = {"resolution": 16, "split": ORDER, "val": 2, "cache_dir": path.parent / "cache"}
    return image_folder(path=path, **{**settings, **changes})


def names(dataset) -> list[str]:
    return [dataset[i]["name"] for i in range(len(dataset))]


def zipped(root: Path) -> Path:
    archive = root.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(root.rglob("*"), reverse=True):
            file.write(path, path.relative_to(root))
    return archive


def test_order_split_is_sorted_and_recursive(photos):
    domain = make(photos, name="mine")
    assert domain.name == "mine" and domain.resolution == 16 and domain.attributes == ()
    assert names(domain.train) == ["a/00.png", "a/01.PNG", "a/02.png", "a/03.PNG", "b/c/04.png"]
    assert names(domain.val) == ["b/c/05.PNG", "b/c/06.png"]
    assert names(domain.test) == ["b/c/07.PNG", "b/c/08.png", "b/c/09.PNG"]
    item = domain.test[1]
    assert item["id"] == 8 and item["image"].dtype == torch.uint8
    expected = np.asarray(Image.open(io.BytesIO(picture(8))))
    assert np.array_equal(item["image"].permute(1, 2, 0).numpy(), expected)


def test_zip_equals_folder(photos):
    one, two = make(photos), make(zipped(photos))
    assert one.fingerprint == two.fingerprint
    for split in ("train", "val", "test"):
        a, b = getattr(one, split), getattr(two, split)
        assert names(a) == names(b)
        assert all(torch.equal(a[i]["image"], b[i]["image"]) for i in range(len(a)))
        assert [a[i]["id"] for i in range(len(a))] == [b[i]["id"] for i in range(len(b))]


def test_zip_is_read_from_several_processes(photos):
    split = make(zipped(photos)).train
    alone = torch.stack([split[i]["image"] for i in range(5)])  # the handle is open from here on
    loader = DataLoader(split, batch_size=1, num_workers=2, collate_fn=collate)
    assert torch.equal(torch.cat([batch["image"] for batch in loader]), alone)
    assert torch.equal(pickle.loads(pickle.dumps(split))[2]["image"], alone[2])


def test_val_comes_from_the_end_of_train_where_nothing_is_left(photos):
    domain = make(photos, split={"kind": "order", "train": 7, "test": 3})
    assert names(domain.train)[-1] == "b/c/04.png" and len(domain.train) == 5
    assert names(domain.val) == ["b/c/05.PNG", "b/c/06.png"]
    rest = make(photos, split={"kind": "order", "train": None, "test": 3})
    assert (len(rest.train), len(rest.val), len(rest.test)) == (5, 2, 3)


def test_seed_split_is_random_but_fixed(photos):
    def draw(seed):
        domain = make(photos, split={"kind": "seed", "train": 5, "test": 3, "seed": seed})
        return [names(part) for part in (domain.train, domain.val, domain.test)]

    one = draw(0)
    assert one == draw(0) and one != draw(1)
    assert sorted(name for part in one for name in part) == names(
        read_images(photos, resolution=16)
    )
    assert [len(part) for part in one] == [5, 2, 3]


def test_list_split(photos, tmp_path):
    train, test, val = tmp_path / "train.txt", tmp_path / "test.txt", tmp_path / "val.txt"
    train.write_text("# mine\nb/c/09.PNG\n\na/00.png\n")
    test.write_text("a/02.png\n")
    val.write_text("a/01.PNG\n")
    domain = make(photos, split={"kind": "list", "train": train, "test": str(test), "val": val})
    assert names(domain.train) == ["b/c/09.PNG", "a/00.png"]
    assert names(domain.test) == ["a/02.png"] and names(domain.val) == ["a/01.PNG"]
    domain = make(photos, split={"kind": "list", "train": train, "test": test}, val=1)
    assert names(domain.val) == ["a/01.PNG"]
    domain = make(photos, split={"kind": "list", "train": None, "test": test}, val=1)
    assert len(domain.train) == 8 and names(domain.val) == ["b/c/09.PNG"]
    test.write_text("a/02.png\nnowhere.png\n")
    with pytest.raises(DataError, match=r"nowhere\.png.*data\.split\.test"):
        make(photos, split={"kind": "list", "train": train, "test": test})
    test.write_text("a/02.png\na/02.png\n")
    with pytest.raises(DataError, match="twice"):
        make(photos, split={"kind": "list", "train": train, "test": test})


def test_leaks_are_removed_from_train_and_counted(photos):
    (photos / "a" / "00.png").write_bytes(picture(8))  # test
    (photos / "a" / "01.PNG").write_bytes(picture(5))  # val
    (photos / "a" / "02.png").write_bytes(picture(3))  # a twin within train may stay
    (photos / "b/c/06.png").write_bytes(picture(9))  # val and test
    with pytest.warns(UserWarning) as caught:
        domain = make(photos)
    texts = sorted(str(w.message) for w in caught)
    assert len(texts) == 2
    assert "removed 2 images from train" in texts[1] and "a/00.png, a/01.PNG" in texts[1]
    assert "removed 1 images from val" in texts[0] and "b/c/06.png" in texts[0]
    assert names(domain.train) == ["a/02.png", "a/03.PNG", "b/c/04.png"]
    assert len(domain.test) == 3 and names(domain.val) == ["b/c/05.PNG"]


def test_a_train_set_that_is_all_leaks_is_refused(photos):
    for i in range(3):
        (photos / "a" / f"{i:02d}.{'PNG' if i % 2 else 'png'}").write_bytes(picture(9))
    with pytest.warns(UserWarning), pytest.raises(DataError, match="also a test image"):
        make(photos, split={"kind": "order", "train": 3, "test": 1}, val=0)


def test_lists_that_share_a_name_leak_too(photos, tmp_path):
    file, other = tmp_path / "one.txt", tmp_path / "two.txt"
    file.write_text("a/00.png\na/01.PNG\n")
    other.write_text("a/01.PNG\n")
    with pytest.warns(UserWarning, match="removed 1 images from train"):
        domain = make(photos, split={"kind": "list", "train": file, "test": other}, val=0)
    assert names(domain.train) == ["a/00.png"]


def test_damaged_files_stop_or_are_left_out(photos):
    (photos / "a" / "02.png").write_bytes(picture(2)[:200])
    (photos / "b/c" / "08.png").write_bytes(b"")
    for read in (
        lambda **k: make(photos, **k),
        lambda **k: read_images(photos, resolution=16, **k),
    ):
        with pytest.raises(CorruptImageError, match=r"a/02\.png.*2 damaged files in all"):
            read()
        said = r"left out 2 damaged.*a/02\.png \(.*\), b/c/08\.png \(cannot identify image file\)"
        with pytest.warns(UserWarning, match=said):
            read(on_corrupt="skip")
    with pytest.warns(UserWarning):
        domain = make(photos, on_corrupt="skip")
    # The others keep their splits and their ids.
    assert names(domain.train) == ["a/00.png", "a/01.PNG", "a/03.PNG", "b/c/04.png"]
    assert [domain.train[i]["id"] for i in range(4)] == [0, 1, 3, 4]
    assert names(domain.test) == ["b/c/07.PNG", "b/c/09.PNG"]
    with pytest.raises(ConfigError, match=r"data\.on_corrupt"):
        make(photos, on_corrupt="ignore")


def test_a_dangling_link_is_damage(photos):
    (photos / "a" / "0x.png").symlink_to(photos / "gone.png")
    with pytest.raises(CorruptImageError, match=r"0x\.png"):
        make(photos)


def test_links_in_circles_are_walked_once(photos):
    (photos / "a" / "loop").symlink_to(photos)
    assert len(read_images(photos, resolution=16)) == 10


def test_small_images_are_refused_unless_allowed(photos):
    (photos / "b/c" / "07.PNG").write_bytes(picture(7, size=12))
    with pytest.raises(DataError, match=r"07\.PNG.*12x12.*data\.allow_upscale"):
        make(photos)
    assert make(photos, allow_upscale=True).test[0]["image"].shape == (3, 16, 16)


def test_the_index_spares_a_second_look(photos, monkeypatch):
    first = make(photos)
    looked: list[str] = []
    look = scan_module._look

    def counting(source, name, stamp):
        looked.append(name)
        return look(source, name, stamp)

    monkeypatch.setattr(scan_module, "_look", counting)
    assert make(photos).fingerprint == first.fingerprint and looked == []
    (photos / "a" / "03.PNG").write_bytes(picture(33))
    assert make(photos).fingerprint != first.fingerprint and looked == ["a/03.PNG"]
    (index,) = (photos.parent / "cache" / "index").glob("*.json")
    index.write_text('{"a/00.png": [1, 2')
    make(photos)
    assert len(looked) == 11
    index.write_text('["a list"]')
    make(photos)
    assert len(looked) == 21
    make(photos)
    assert len(looked) == 21


def test_the_fingerprint_follows_images_resolution_and_split(photos):
    prints = [
        make(photos).fingerprint,
        make(photos, resolution=8).fingerprint,
        make(photos, val=1).fingerprint,
        make(photos, split={"kind": "order", "train": 4, "test": 3}).fingerprint,
    ]
    assert len(set(prints)) == 4 and all(len(p) == 16 for p in prints)
    assert make(photos).fingerprint == prints[0]


def test_read_images_takes_file_folder_and_zip(photos):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = read_images(photos / "a" / "01.PNG", resolution=8)
        folder, archive = (
            read_images(photos, resolution=8),
            read_images(zipped(photos), resolution=8),
        )
    assert len(one) == 1 and one[0]["name"] == "01.PNG" and one[0]["image"].shape == (3, 8, 8)
    assert names(folder) == names(archive) and len(folder) == 10
    assert torch.equal(one[0]["image"], folder[1]["image"])


def test_unusable_places_are_named(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "note.txt").write_text("nothing here")
    with pytest.raises(DataError, match=r"holds no image.*data\.path"):
        make(empty)
    with pytest.raises(DataError, match=r"no such file or folder.*data\.path"):
        make(tmp_path / "missing")
    with pytest.raises(DataError, match=r"`images`"):
        read_images(tmp_path / "missing", resolution=8)
    with pytest.raises(DataError, match="expected a folder"):
        read_images(empty / "note.txt", resolution=8)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK but no archive")
    with pytest.raises(DataError, match=r"broken\.zip.*data\.path"):
        make(broken)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "x.png").write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(DataError, match="damaged"):
        read_images(bad, resolution=8, on_corrupt="skip")


@pytest.mark.parametrize(
    ("split", "error", "key"),
    [
        ({"kind": "alphabet"}, ConfigError, r"data\.split\.kind"),
        ({"train": 5, "test": 3}, ConfigError, r"data\.split\.kind"),
        ({"kind": "order", "train": 5, "test": 3, "seed": 1}, ConfigError, r"data\.split\.seed"),
        ({"kind": "order", "train": "all", "test": 3}, ConfigError, r"data\.split\.train"),
        ({"kind": "order", "train": 5, "test": -1}, ConfigError, r"data\.split\.test"),
        ({"kind": "order", "train": 9, "test": 3}, DataError, r"data\.split\.train"),
        ({"kind": "seed", "train": 5, "test": 3}, ConfigError, r"data\.split\.seed"),
        ({"kind": "list", "train": "no.txt", "test": "no.txt"}, DataError, r"data\.split\.t"),
        ({"kind": "order", "train": 2, "test": 8}, DataError, r"data\.val"),
    ],
)
def test_wrong_splits_name_their_key(photos, split, error, key):
    with pytest.raises(error, match=key):
        make(photos, split=split)


def test_folders_may_be_classes(tmp_path):
    names = [("cats/" if i < 5 else "dogs/big/") + f"{i}.png" for i in range(8)]
    root = written(tmp_path / "photos", names)
    split = {"kind": "seed", "train": 4, "test": 2, "seed": 0}
    domain = make(root, split=split, classes=True)
    assert domain.classes == ("cats", "dogs")
    for part in (domain.train, domain.val, domain.test):
        for item in (part[i] for i in range(len(part))):
            assert item["class"] == item["name"].startswith("dogs")
    plain = make(root, split=split)
    assert plain.classes == () and "class" not in plain.train[0]
    assert plain.fingerprint != domain.fingerprint
    (root / "dogs" / "big").rename(root / "ants")
    assert make(root, split=split, classes=True).classes == ("ants", "cats")
    for files, message in (
        (["a/1.png", "a/2.png"], "one folder of images"),
        (["a/1.png", "b/2.png", "3.png"], "images beside its folders"),
        (["00000/1.png", "00001/2.png"], "numbered folders"),
    ):
        other = written(tmp_path / message, files)
        with pytest.raises(DataError, match=f"{message}.*data.classes"):
            make(other, split={"kind": "order"}, val=None, classes=True)
