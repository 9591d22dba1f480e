"""The rendered domain: splits, and a cache that survives damage and company."""

import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from idinvert.data.datamodule import StreamSampler
from idinvert.data.domain import Domain, prepare
from idinvert.errors import DataError
from idinvert.toy import miniature
from idinvert.toy.bedrooms import BEDROOMS
from idinvert.toy.churches import CHURCHES
from idinvert.toy.faces import FACES
from idinvert.toy.miniature import (
    bedrooms_mini,
    churches_mini,
    faces_mini,
    procedural,
    towers_mini,
)
from idinvert.toy.towers import TOWERS
from tests.processes import children_of, is_alive


def small(cache: Path, **changes) -> Domain:
    settings = {"resolution": 16, "train": 20, "test": 6, "val": 4, "cache_dir": cache}
    return faces_mini(**{**settings, **changes})


def test_other_counts_give_the_same_images_but_another_fingerprint(tmp_path):
    one, two = small(tmp_path), small(tmp_path, train=10, test=5, val=0)
    assert torch.equal(one.train[7]["image"], two.train[7]["image"])
    assert torch.equal(one.train[12]["image"], two.test[2]["image"])
    assert len(two.val) == 0
    prints = {small(tmp_path, **c).fingerprint for c in ({}, {"train": 19, "test": 7}, {"seed": 1})}
    assert len(prints) == 3 and one.fingerprint in prints
    assert "mask" not in one.train[0]


def test_of_a_part_of_a_split_its_own_images_alone_are_rendered(tmp_path):
    split = small(tmp_path).test
    prepare(Subset(Subset(split, [5, 1, 3]), [2, 0]), [1])
    assert [split._is_drawn(place) for place in range(6)] == [place == 5 for place in range(6)]
    prepare(Subset(split, [1, 3]))
    assert [place for place in range(6) if split._is_drawn(place)] == [1, 3, 5]


@pytest.mark.parametrize("damage", ["cut", "longer", "garbage", "shape", "dtype", "empty", "pixel"])
def test_a_broken_cache_is_rebuilt(tmp_path, damage):
    sound = small(tmp_path).train[3]["image"]
    (file,) = tmp_path.glob("*.images.npy")
    data = file.read_bytes()
    broken = {"cut": data[:-100], "longer": data + b"x", "garbage": b"no array", "empty": b""}
    broken["pixel"] = data[:-1] + bytes([data[-1] ^ 1])
    if damage in broken:
        file.write_bytes(broken[damage])
    else:
        kind = np.float32 if damage == "dtype" else np.uint8
        np.save(file, np.zeros((20, 3, 16, 16 if damage == "dtype" else 17), dtype=kind))
    assert torch.equal(small(tmp_path).train[3]["image"], sound)
    assert file.read_bytes() == data
    assert not list(tmp_path.glob(".*.tmp"))


def test_only_what_is_asked_for_is_rendered(tmp_path):
    domain = small(tmp_path)
    assert not list(tmp_path.iterdir())
    assert domain.test[0]["id"] == 20
    (file,) = tmp_path.glob("*.images.npy")
    assert np.load(file, mmap_mode="r").shape == (6, 3, 16, 16)
    again = small(tmp_path, train=19, test=7)  # other images: not the same file
    assert again.test[0]["id"] == 19 and len(list(tmp_path.glob("*.images.npy"))) == 2


def test_an_interrupted_rendering_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        split = small(tmp_path).train
        patch.setattr(split, "renderer", replace(FACES, draw=interrupted))
        with pytest.raises(KeyboardInterrupt):
            prepare(split)
    assert not list(tmp_path.glob("*.npy")) and not list(tmp_path.glob(".*.tmp"))
    assert small(tmp_path).train[19]["id"] == 19


def test_two_processes_write_one_cache(tmp_path):
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from idinvert.toy.miniature import faces_mini\n"
        f"d = faces_mini(resolution=16, train=300, test=4, val=0, cache_dir={str(tmp_path)!r})\n"
        "print(sum(int(d.train[i]['image'].long().sum()) for i in range(300)))\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    sums = [process.communicate(timeout=120)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    pictures, _ = FACES.render(FACES.sample_labels(torch.arange(300), seed=0), resolution=16)
    assert sums == [str(int(pictures.long().sum()))] * 2
    assert len(list(tmp_path.glob("*.npy"))) == 1 and not list(tmp_path.glob(".*.tmp"))


PROGRAM = """
import os, signal, sys, threading, time, multiprocessing
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
print("the program runs", flush=True)
from idinvert.data.domain import prepare
from idinvert.toy import miniature
from idinvert.toy.miniature import faces_mini
miniature._WORTH, miniature.cores = 0.0, lambda: 2
def end_one():
    while len(children := multiprocessing.active_children()) < 2:
        time.sleep(0.01)
    os.kill(children[0].pid, signal.SIGKILL)
if sys.argv[3:] == ["kill"]:
    threading.Thread(target=end_one).start()
prepare(faces_mini(resolution=16, train=int(sys.argv[2]), cache_dir=sys.argv[1]).train)
print("done")
"""
"""Renders with two processes; has no guard against being imported, as train.py has none."""


def render(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "cache"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("event", [[], ["kill"]], ids=["undisturbed", "a child killed"])
def test_several_processes_render_the_same_file(tmp_path, event):
    process = render(tmp_path, "700", *event)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == "the program runs\ndone\n" and "\r" not in err
    prepare(faces_mini(resolution=16, train=700, cache_dir=tmp_path / "alone").train)
    one, two = (next((tmp_path / name).glob("*.npy")) for name in ("alone", "cache"))
    assert one.name == two.name and one.read_bytes() == two.read_bytes()
    suffixes = sorted(path.suffix for path in (tmp_path / "cache").iterdir())
    assert suffixes == [".lock", ".npy", ".sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_all_processes_end_together(tmp_path, how):
    process = render(tmp_path, "60000")
    children: list[int] = []
    deadline = time.monotonic() + 200
    while len(children) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        children = [pid for pid in children_of(process.pid) if is_worker(pid)]
        time.sleep(0.05)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.kill()
    process.communicate(timeout=120)
    assert process.returncode != 0
    deadline = time.monotonic() + 60
    while any(is_alive(child) for child in children):
        assert time.monotonic() < deadline, "children outlive the program"
        time.sleep(0.1)
    assert not list((tmp_path / "cache").glob("*.npy"))
    if how == signal.SIGINT:
        assert not list((tmp_path / "cache").glob(".*.tmp"))


def is_worker(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_split_travels_to_workers_without_its_pixels(tmp_path):
    split = faces_mini(resolution=64, train=40, test=1, val=0, cache_dir=tmp_path).train
    expected = split[5]["image"]
    packed = pickle.dumps(split)
    assert len(packed) < 20_000
    assert torch.equal(pickle.loads(packed)[5]["image"], expected)


def test_skipping_changes_neither_the_test_images_nor_the_ids(tmp_path):
    counts = {"resolution": 16, "train": 12, "test": 4, "val": 2, "cache_dir": tmp_path}
    whole, part = faces_mini(**counts), faces_mini(**counts, skip=9)
    assert len(part.train) == 3
    assert part.fingerprint != whole.fingerprint
    for split, offset in (("train", 9), ("test", 0), ("val", 0)):
        theirs, ours = getattr(whole, split), getattr(part, split)
        for index in range(len(ours)):
            assert ours[index]["id"] == theirs[index + offset]["id"]
            assert torch.equal(ours[index]["image"], theirs[index + offset]["image"])
            assert torch.equal(ours[index]["attributes"], theirs[index + offset]["attributes"])


FINGERPRINT = "15f14577e6678d56"
STORED = [[336302, 442346, 507128, 134665], [665211, 606248, 618716, 616930], [697244, 697514]]
DRAWN = (towers_mini, bedrooms_mini, churches_mini)


@pytest.fixture(params=DRAWN, ids=lambda domain: domain.args[0].name)
def drawn_domain(request):
    """A domain whose split is a random draw, at 8 px."""

    def make(cache, **changes):
        settings = {"resolution": 8, "train": 40, "test": 12, "val": 6, "cache_dir": cache}
        return request.param(**{**settings, **changes})

    return make


def ids(split) -> list[int]:
    return [split[i]["id"] for i in range(len(split))]


def test_a_draw_leaks_nothing_and_is_no_order(tmp_path, drawn_domain):
    domain = drawn_domain(tmp_path)
    train, test, val = (ids(split) for split in (domain.train, domain.test, domain.val))
    assert len(set(train)) == 40 and len(set(test)) == 12 and len(set(val)) == 6
    assert not set(train) & set(test) and not set(train) & set(val) and not set(test) & set(val)
    assert max(train) < 600_000 <= min(test + val)
    assert max(test) < 690_000 <= min(val) and max(val) < 700_000
    assert train != sorted(train) and test != sorted(test)
    assert max(train) - min(train) > 300_000  # all over the first part


def test_whole_draws_are_distinct_and_of_their_own(tmp_path):
    """The default counts, of all three domains, without rendering them."""
    seen: dict[str, list[torch.Tensor]] = {}
    for make in DRAWN:
        domain = make(resolution=8, cache_dir=tmp_path)
        seen[domain.name] = [domain.train.ids, domain.test.ids, domain.val.ids]
    for parts in seen.values():
        assert [len(part) for part in parts] == [65_000, 5_000, 500]
        assert len(torch.cat(parts).unique()) == 70_500
        assert abs(float(parts[0].double().mean()) - 300_000) < 3_000
    firsts = [tuple(parts[1][:5].tolist()) for parts in seen.values()]
    assert len(set(firsts)) == 3


def test_the_stored_draw_is_this_one(tmp_path):
    """Another draw would be another benchmark: records of the two could not be compared."""
    domain = towers_mini(resolution=8, train=4, test=4, val=2, cache_dir=tmp_path)
    found = [ids(split) for split in (domain.train, domain.test, domain.val)]
    assert found == STORED


def test_more_images_are_the_same_and_others(tmp_path, drawn_domain):
    small, large = drawn_domain(tmp_path), drawn_domain(tmp_path, train=50, test=20, val=9)
    for split in ("train", "test", "val"):
        ours = ids(getattr(small, split))
        assert ids(getattr(large, split))[: len(ours)] == ours
    part = drawn_domain(tmp_path, skip=30)
    assert ids(part.train) == ids(small.train)[30:] and ids(part.test) == ids(small.test)
    prints = {
        drawn_domain(tmp_path, **changes).fingerprint
        for changes in ({}, {"skip": 30}, {"seed": 1}, {"test": 11, "val": 7}, {"resolution": 9})
    }
    assert len(prints) == 5
    again = drawn_domain(tmp_path)
    assert again.fingerprint == small.fingerprint
    assert torch.equal(again.test[3]["image"], small.test[3]["image"])


def test_faces_keep_the_fingerprint_that_shipped_networks_carry(tmp_path):
    domain = faces_mini(resolution=8, train=2, test=1, val=1, cache_dir=tmp_path)
    assert domain.fingerprint == FINGERPRINT
    prepare(domain.train)
    (file,) = tmp_path.glob("*.npy")
    assert file.name.startswith("faces_mini-v1-8px-seed0-2-")


@pytest.mark.parametrize("renderer", [FACES, TOWERS, BEDROOMS, CHURCHES], ids=lambda r: r.name)
def test_items_are_what_the_renderer_draws(tmp_path, renderer):
    counts = {"train": 20, "test": 6, "val": 4}
    options = {"resolution": 8, "seed": 5, "cache_dir": tmp_path}
    domain = procedural(renderer, masks=True, **counts, **options)
    assert domain.attributes == renderer.attributes and domain.name == renderer.name
    for key, count in counts.items():
        split = getattr(domain, key)
        numbers = torch.tensor(ids(split))
        if renderer is FACES:
            assert numbers[0] == {"train": 0, "test": 20, "val": 26}[key]
        labels = renderer.sample_labels(numbers, seed=5)
        pictures, masks = renderer.render(labels, resolution=8)
        assert len(split) == count
        for place in range(count):
            item = split[place]
            assert torch.equal(item["image"], pictures[place])
            assert torch.equal(item["mask"], masks[place])
            assert torch.equal(item["attributes"], labels[place])
            assert item["name"] == f"{item['id']:06d}"
        with pytest.raises(IndexError):
            split[count]
        assert torch.equal(pickle.loads(pickle.dumps(split))[1]["image"], pictures[1])
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert len(written) == 6  # pictures and masks
    without = procedural(renderer, **counts, **options).test[2]  # finds the pictures there
    assert "mask" not in without and torch.equal(without["image"], domain.test[2]["image"])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")} == written


@pytest.mark.parametrize(
    ("make", "changes", "key"),
    [
        (faces_mini, {"resolution": 4}, r"faces_mini: got 4, expected 8 or more.*data\.resolution"),
        (faces_mini, {"test": -1}, r"got -1, expected 0 or more.*data\.test"),
        (faces_mini, {"train": 12, "skip": 13}, r"got 13, expected 0 to 12.*data\.skip"),
        (towers_mini, {"train": 600_001}, r"towers_mini: .*0 to 600000.*data\.train"),
        (bedrooms_mini, {"test": 90_001}, r"data\.test"),
        (churches_mini, {"val": 10_001}, r"data\.val"),
    ],
)
def test_errors_name_the_key(tmp_path, make, changes, key):
    with pytest.raises(DataError, match=key):
        make(**{"resolution": 8, "cache_dir": tmp_path, **changes})


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "there"))
    prepare(faces_mini(resolution=8, train=2, test=1, val=0).test)
    assert list((tmp_path / "there").glob("faces_mini*.npy"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"data\.cache_dir"):
        prepare(small(tmp_path / "file" / "below").val)


def half_made(folder: Path) -> tuple[Path, Path]:
    """The pixels and the checksums of a split that is not complete."""
    (pixels,), (sums,) = folder.glob("*.begun"), folder.glob("*.sums")
    return pixels, sums


def test_of_a_split_only_what_is_announced_is_rendered(tmp_path):
    whole = small(tmp_path / "whole").train
    prepare(whole)
    split = small(tmp_path / "part").train
    for places in ([3, 7, 5], range(4), [3]):
        prepare(split, places)
    pixels, sums = half_made(tmp_path / "part")
    assert np.flatnonzero(np.load(sums).any(axis=1)).tolist() == [0, 1, 2, 3, 5, 7]
    for ours in (split, pickle.loads(pickle.dumps(split))):
        for index in range(20):  # those that nobody announced too
            assert torch.equal(ours[index]["image"], whole[index]["image"])
            assert ours[index]["id"] == whole[index]["id"]
    assert not list((tmp_path / "part").glob("*.npy"))
    again = small(tmp_path / "whole").train  # the cache of the whole is used where it is there
    prepare(again, [2])
    assert torch.equal(again[2]["image"], whole[2]["image"])
    assert not list((tmp_path / "whole").glob("*.begun"))
    # What is damaged or cut off is rendered again, and nothing else.
    data = bytearray(pixels.read_bytes())
    data[-20 * 768 + 3 * 768] ^= 1
    pixels.write_bytes(data)
    anew = small(tmp_path / "part").train
    prepare(anew, [0])
    assert torch.equal(anew[3]["image"], whole[3]["image"])
    prepare(anew)
    (file,) = (tmp_path / "part").glob("*.npy")
    assert file.read_bytes() == next((tmp_path / "whole").glob("*.npy")).read_bytes()
    assert sorted(path.suffix for path in file.parent.iterdir()) == [".lock", ".npy", ".sha256"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_is_followed_in_its_order(tmp_path, workers, monkeypatch):
    """Each image is rendered before its batch comes, once; others take over what is half made."""
    monkeypatch.setattr(miniature, "_BLOCK", 8)
    whole = small(tmp_path / "whole", train=60).train
    batches = list(islice(StreamSampler(length=60, batch_size=4, seed=1), 40))
    split = small(tmp_path / "part", train=60).train

    def drawn():
        return set(np.flatnonzero(np.load(half_made(tmp_path / "part")[1]).any(axis=1)))

    followed = split.follow(iter(batches), workers=workers)
    for batch in batches[:2]:
        assert next(followed) == batch and set(batch) <= drawn()
        for place in batch:
            assert torch.equal(split[place]["image"], whole[place]["image"])
    assert len(drawn()) < 60, "no further ahead than a few blocks"
    followed.close()  # as where training is stopped
    before = drawn()
    second = small(tmp_path / "part", train=60).train  # a rank, or the run that goes on
    mine, theirs = batches[2::2], batches[3::2]
    one = second.follow(iter(mine), workers=1)
    two = small(tmp_path / "part", train=60).train.follow(iter(theirs), workers=1)
    assert before <= drawn()
    found = [list(pair) for pair in zip(one, two, strict=True)]
    assert found == [list(pair) for pair in zip(mine, theirs, strict=True)]
    for place in range(60):
        assert torch.equal(second[place]["image"], whole[place]["image"])
    (file,) = (tmp_path / "part").glob("*.npy")
    assert file.read_bytes() == next((tmp_path / "whole").glob("*.npy")).read_bytes()
    assert list(small(tmp_path / "part", train=60).train.follow(iter(mine), workers=1)) == mine


def test_a_training_renders_on_alone_where_a_process_is_killed(tmp_path, monkeypatch):
    """Each image still comes once, from the file: not drawn anew whenever it is used."""

    def killed(work, items, *, workers):
        for done, item in enumerate(items):
            if workers > 1 and done == 2:
                raise BrokenProcessPool
            yield work(item)

    monkeypatch.setattr(miniature, "_BLOCK", 8)
    monkeypatch.setattr(miniature, "in_order", killed)
    batches = list(islice(StreamSampler(length=60, batch_size=4, seed=1), 40))
    split = small(tmp_path / "part", train=60).train
    assert list(split.follow(iter(batches), workers=2)) == batches
    whole = small(tmp_path / "whole", train=60).train
    assert torch.equal(whole[0]["image"], split[0]["image"])
    (file,) = (tmp_path / "part").glob("*.npy")
    assert file.read_bytes() == next((tmp_path / "whole").glob("*.npy")).read_bytes()


def test_a_full_disk_under_a_training_is_said(tmp_path, monkeypatch):
    def full(*words):
        raise OSError(28, "No space left on device")

    split = small(tmp_path).train
    monkeypatch.setattr(miniature, "_fill", full)
    with pytest.raises(DataError, match=r"No space left.*data\.cache_dir"):
        next(split.follow(iter([[1, 2]] * 40), workers=1))
