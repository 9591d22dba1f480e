"""Folders of few images: shares instead of counts, and every value as it is documented."""

import re
from pathlib import Path

import pytest
from PIL import Image

from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.data.split import divide
from idinvert.errors import DataError

CONF = Path(__file__).parents[2] / "conf" / "data" / "folder.yaml"


def test_a_folder_of_any_size_is_divided_by_shares():
    sizes = {2: (1, 1, 1), 3: (1, 1, 1), 12: (9, 1, 2), 100: (76, 4, 20), 599: (456, 24, 119)}
    sizes |= {2_500: (1_900, 100, 500), 8_409: (7_809, 100, 500), 70_000: (69_400, 100, 500)}
    for kind in ({"kind": "order"}, {"kind": "seed", "seed": 3}):
        for total in [*sizes, *range(2, 700, 7)]:
            names = [f"{i:05d}.png" for i in range(total)]
            places = divide(names, split={**kind, "test": None, "train": None}, val=None)
            assert not set(places.test) & {*places.train, *places.val}
            assert min(map(len, places)) >= 1
            shared = total == 2  # one image is both trained on and watched
            assert sum(map(len, places)) == total + shared
            if total in sizes:
                assert tuple(map(len, places)) == sizes[total]
            # From 2,500 images on, these are the counts that were the defaults before.
            if total >= 2_500:
                assert places == divide(names, split={**kind, "test": 500}, val=100)
    with pytest.raises(DataError, match="expected 2 at least"):
        divide(["a"], split={"kind": "order"}, val=None)
    with pytest.raises(DataError, match=r"got 5 images, expected at least 1 to train, 5 to test"):
        divide(list("abcde"), split={"kind": "order", "test": 5}, val=None)


def test_every_documented_split_can_be_typed(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (32, 32), (20 * i, 9, 9)).save(folder / f"{i:02d}.png")
    (tmp_path / "train.txt").write_text("00.png\n01.png\n02.png\n")
    (tmp_path / "test.txt").write_text("10.png\n11.png\n")
    typed = re.findall(r"^# '(data\.split=.*?)'", CONF.read_text(), re.M)
    assert len(typed) == 3
    typed += ["data.split.kind=seed data.split.seed=4", "data.val=2", "data.split.test=3", ""]
    counts = []
    for line in typed:
        words = [line] if "{" in line else line.split()
        words = [re.sub(r"(train|test)\.txt", rf"{tmp_path}/\1.txt", word) for word in words]
        words += ["data=folder", f"data.path={folder}", f"data.cache_dir={tmp_path / 'cache'}"]
        words[-1] = "+" + words[-1]
        domain = build(compose_plain("train", words)["data"], key="data")
        counts.append(tuple(len(getattr(domain, part)) for part in ("train", "val", "test")))
    shares = (9, 1, 2)
    assert counts == [(6, 1, 5), (6, 1, 5), (3, 1, 2), shares, (8, 2, 2), (8, 1, 3), shares]
