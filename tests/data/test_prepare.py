"""`prepare`: pixels, bytes, what is dropped, and going on after an end at any moment."""

import fcntl
import hashlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from idinvert.data import source
from idinvert.data.folder import image_folder
from idinvert.data.prepare import prepare
from idinvert.data.prepared import ZipOutput, names_kept, read_prepared
from idinvert.data.source import open_source
from idinvert.errors import ConfigError, CorruptImageError, DataError, RunLockedError
from tests.data.pictures import picture, write_folder, write_lmdb, write_zip

GOOD = {f"b/{i:02d}.png": picture(i) for i in range(12)}
BAD = {
    "a/torn.png": picture(50)[:300],
    "b/05x.jpg": b"no picture",
    "b/06x.png": picture(51, width=40, height=7),
    "b/07x.png": GOOD["b/02.png"],
    "c/other bytes.webp": b"",
}


@pytest.fixture
def photos(tmp_path):
    """Twelve good pictures, and five that are not."""
    twin = io.BytesIO()  # the same pixels in another file
    Image.open(io.BytesIO(GOOD["b/01.png"])).save(twin, "WEBP", lossless=True)
    return write_folder(tmp_path / "photos", {**GOOD, **BAD, "c/other bytes.webp": twin.getvalue()})


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Five commits instead of one."""
    monkeypatch.setattr("idinvert.data.prepare.BLOCK", 4)


def beside(out: Path) -> set[str]:
    """Everything in the folder of OUT but the source."""
    return {path.name for path in out.parent.iterdir()} - {"photos"}


def test_an_archive_of_square_pictures(photos, tmp_path):
    out = tmp_path / "new" / "out.zip"
    report = prepare(photos, out, resolution=8)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        expected = [f"00001/{name[2:]}" for name in GOOD]
        assert archive.namelist() == [*expected, "prepared.json"]
        for name, data in zip(expected, GOOD.values(), strict=True):
            assert archive.getinfo(name).compress_type == zipfile.ZIP_STORED
            assert archive.getinfo(name).date_time == (1980, 1, 1, 0, 0, 0)
            image = Image.open(io.BytesIO(data)).crop((2, 0, 18, 16))
            wanted = np.asarray(image.resize((8, 8), Image.Resampling.LANCZOS))
            with Image.open(io.BytesIO(archive.read(name))) as found:
                assert found.mode == "RGB" and found.format == "PNG"
                assert np.array_equal(np.asarray(found), wanted)
        assert json.loads(archive.read("prepared.json")) == report
    assert json.loads((tmp_path / "new" / "out.zip.report.json").read_text()) == report
    assert beside(out) == {"out.zip", "out.zip.report.json"}


def test_what_was_dropped_is_reported_with_its_reason(photos, tmp_path):
    report = prepare(photos, tmp_path / "out.zip", resolution=8)
    assert (report["images"], report["looked_at"], report["kept"]) == (17, 17, 12)
    assert report["dropped"] == {"corrupt": 2, "small": 1, "duplicate": 2}
    rows = {
        row["name"]: (row["place"], row["why"], row["detail"]) for row in report["dropped_images"]
    }
    assert set(rows) == set(BAD)
    assert rows["a/torn.png"][:2] == (0, "corrupt") and rows["a/torn.png"][2]
    assert rows["b/05x.jpg"] == (7, "corrupt", "cannot identify image file")
    assert rows["b/06x.png"] == (9, "small", "40x7 pixels")
    assert rows["b/07x.png"] == (11, "duplicate", "same pixels as place 3")
    assert rows["c/other bytes.webp"] == (16, "duplicate", "same pixels as place 2")
    assert report["settings"]["resolution"] == 8 and report["settings"]["format"] == "zip"

    digest = hashlib.sha256()
    for name in sorted([*GOOD, *BAD]):
        digest.update(
            f"{name} {hashlib.sha256((photos / name).read_bytes()).hexdigest()}\n".encode()
        )
    assert report["source_sha256"] == digest.hexdigest()
    digest = hashlib.sha256()
    names = sorted([*GOOD, *BAD])
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        for name in archive.namelist()[:-1]:
            place = names.index(f"b/{name[6:]}")
            digest.update(f"{place} {hashlib.sha256(archive.read(name)).hexdigest()}\n".encode())
    assert report["content_sha256"] == digest.hexdigest()


def test_names_of_pictures_are_kept(tmp_path, monkeypatch):
    names = [
        "anna 1.jpg",
        "anna 1.png",
        "写真 (2).webp",
        "2024/z.png",
        "2025/a:b.png",
        "2025/z.png",
    ]
    files = {name: picture(i) for i, name in enumerate(names)}
    source = write_zip(tmp_path / "photos.zip", files)
    prepare(source, tmp_path / "out.zip", resolution=8)
    found = open_source(tmp_path / "out.zip", key="SRC")
    assert found.names == (
        "00000/2024_z.png", "00000/a_b.png", "00001/2025_z.png", "00001/anna 1_jpg.png",
        "00001/anna 1_png.png", "00001/写真 (2).png",
    )  # fmt: skip
    report = read_prepared(found)
    assert report is not None and report.places == tuple(range(6))
    split = {"kind": "order", "train": 4, "test": 2}
    both = [
        image_folder(path=path, resolution=8, split=split, val=0) for path in (source, found.path)
    ]
    for one, other in zip(both[0].test, both[1].test, strict=True):  # in the order of the source
        assert torch.equal(one["image"], other["image"])

    many = names_kept([f"{i:05d}.jpg" for i in range(2_500)])
    assert [many[i] for i in (0, 999, 1_000, 2_499)] == [
        "00000/00000.png", "00000/00999.png", "00001/01000.png", "00002/02499.png",
    ]  # fmt: skip
    monkeypatch.setattr("idinvert.data.prepare.names_by_place", lambda _: pytest.fail("by place"))
    prepare(source, tmp_path / "folder", resolution=8)
    (tmp_path / "folder" / "00000" / "a_b.png").rename(tmp_path / "folder" / "00000" / "b.png")
    with pytest.raises(DataError, match=r"expected the 6 that its prepared\.json tells of"):
        read_prepared(open_source(tmp_path / "folder", key="SRC"))


@pytest.mark.parametrize("name", ["out.zip", "out"])
def test_what_an_older_version_made_or_began_keeps_its_names(photos, tmp_path, name):
    """Older settings have no word on names, and images are named by their places."""
    out, partial = tmp_path / name, tmp_path / f"{name}.partial"
    with Kills(12), pytest.raises(Killed):
        prepare(photos, out, resolution=8)
    settings = json.loads((partial / "settings.json").read_text())
    del settings["called"]
    shutil.rmtree(partial)
    partial.mkdir()
    (partial / "settings.json").write_text(json.dumps(settings))
    with Kills(12), pytest.raises(Killed):
        prepare(photos, out, resolution=8)
    report = prepare(photos, out, resolution=8)
    assert "called" not in report and report["format"] == "idinvert-prepared-1"
    found = open_source(out, key="SRC")
    assert found.names[0] == "00000/img00000001.png" and len(found.names) == 12
    places = read_prepared(found)
    assert places is not None and places.places[:2] == (1, 2)
    assert prepare(photos, out, resolution=8) == report


def test_any_source_and_both_forms_hold_the_same(photos, tmp_path):
    files = {p.relative_to(photos).as_posix(): p.read_bytes() for p in photos.rglob("*.*")}
    prepare(photos, tmp_path / "one.zip", resolution=8)
    prepare(write_zip(tmp_path / "photos.zip", files), tmp_path / "two.zip", resolution=8)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    prepare(photos, tmp_path / "three", resolution=8)
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    found = sorted(path for path in (tmp_path / "three").rglob("*") if path.is_file())
    assert [path.relative_to(tmp_path / "three").as_posix() for path in found] == sorted(members)
    for path in found[:-1]:
        assert path.read_bytes() == members[path.relative_to(tmp_path / "three").as_posix()]


def test_a_database_becomes_an_archive(tmp_path):
    pytest.importorskip("lmdb")
    base = write_lmdb(tmp_path / "lmdb", {**GOOD, "b/05x": b"junk"})
    report = prepare(base, tmp_path / "out.zip", resolution=8)
    root = write_folder(tmp_path / "photos", GOOD)
    split = {"kind": "order", "train": 8, "test": 4}
    one = image_folder(path=tmp_path / "out.zip", resolution=8, split=split, val=0)
    two = image_folder(path=root, resolution=8, split=split, val=0)
    assert report["kept"] == 12 and report["dropped"]["corrupt"] == 1
    for i in range(4):
        assert torch.equal(one.test[i]["image"], two.test[i]["image"])


def test_stopping_at_damage_and_going_on(photos, tmp_path):
    out = tmp_path / "out.zip"
    with pytest.raises(CorruptImageError, match=r"a/torn\.png.*--on-corrupt skip"):
        prepare(photos, out, resolution=8, on_corrupt="error")
    (photos / "a/torn.png").write_bytes(picture(50))  # mended
    with pytest.raises(CorruptImageError, match=r"b/05x\.jpg.*cannot identify"):
        prepare(photos, out, resolution=8, on_corrupt="error")
    assert not out.exists() and (tmp_path / "out.zip.partial").is_dir()
    report = prepare(photos, out, resolution=8, on_corrupt="skip")
    assert report["kept"] == 13 and report["dropped"]["corrupt"] == 1
    again = tmp_path / "again.zip"
    prepare(photos, again, resolution=8)
    assert again.read_bytes() == out.read_bytes()


def test_damage_that_was_skipped_before_stops_too(photos, tmp_path):
    out = tmp_path / "out.zip"
    with Kills(3), pytest.raises(Killed):
        prepare(photos, out, resolution=8)
    with pytest.raises(CorruptImageError, match=r"a/torn\.png"):
        prepare(photos, out, resolution=8, on_corrupt="error")


def test_only_the_first_so_many(photos, tmp_path):
    report = prepare(photos, tmp_path / "out.zip", resolution=8, limit=3)
    assert (report["images"], report["looked_at"], report["kept"]) == (3, 3, 2)
    assert prepare(photos, tmp_path / "all.zip", resolution=8, limit=99)["looked_at"] == 17


class Killed(BaseException):
    """Stands for a kill: no handler of errors sees it."""


class Kills:
    """Ends the work before its n-th lasting step, counted over everything that makes one."""

    STEPS = ((os, "fsync"), (os, "replace"), (os, "truncate"), (shutil, "rmtree"))
    on_disk: ClassVar[dict[str, int]] = {}  # size of each file when it was last synchronised

    def __init__(self, n: int) -> None:
        self.left = n

    def __enter__(self) -> None:
        self.kept = [(module, name, getattr(module, name)) for module, name in self.STEPS]
        for module, name, function in self.kept:
            setattr(module, name, self.counting(function))

    def counting(self, function):
        def step(*args, **kwargs):
            self.left -= 1
            if self.left <= 0:
                raise Killed
            result = function(*args, **kwargs)
            if function.__name__ == "fsync":
                self.on_disk[os.readlink(f"/proc/self/fd/{args[0]}")] = os.fstat(args[0]).st_size
            return result

        return step

    def __exit__(self, *_) -> None:
        for module, name, function in self.kept:
            setattr(module, name, function)


def contents(out: Path) -> dict[str, bytes]:
    """OUT's bytes, of every file if it is a folder."""
    if out.is_file():
        return {"": out.read_bytes()}
    files = (path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["out.zip", "out"])
def test_an_end_before_any_step_changes_no_byte(photos, tmp_path, name):
    prepare(photos, tmp_path / "undisturbed" / name, resolution=8)
    expected = contents(tmp_path / "undisturbed" / name)
    report = (tmp_path / "undisturbed" / f"{name}.report.json").read_bytes()
    n, survived = 0, False
    while not survived:
        n += 1
        out = tmp_path / f"killed{n}" / name
        for step in (n, 2):  # and once more soon after it goes on
            try:
                with Kills(step):
                    prepare(photos, out, resolution=8)
                survived = step == n
                break
            except Killed:
                tear(out.with_name(f"{name}.partial"), seed=n)
        prepare(photos, out, resolution=8)
        assert contents(out) == expected, f"killed before step {n}"
        assert beside(out) == {name, f"{name}.report.json"}
        assert out.with_name(f"{name}.report.json").read_bytes() == report
    assert n > 12


def tear(work: Path, *, seed: int) -> None:
    """What a kill in the midst of writing leaves behind what was committed."""
    if not (work / "settings.json").exists():
        return
    done = 0
    if (work / "journal.jsonl").exists():
        done = (work / "journal.jsonl").read_bytes().count(b"\n")
        with (work / "journal.jsonl").open("ab") as file:
            file.write([b"", b'[3, "b/0', b"\0\0\0", b"[1, 2]\n"][seed % 4])
    images = work / "images"
    if images.is_file():
        os.truncate(images, min(images.stat().st_size, Kills.on_disk.get(str(images), 0)))
        with images.open("ab") as file:
            file.write(bytes(range(seed % 3 * 100)))
    elif images.is_dir() and done <= 15:
        write_folder(images, {"00001/11.png": b"half of a pict"})


def test_an_archive_goes_on_behind_many_files_and_four_gigabytes(tmp_path):
    sizes = [(1 << 31) - 1] * 3 + [0] * 70_000
    end = sum(30 + 5 + size for size in sizes)
    with (tmp_path / "images").open("wb") as file:  # sparse: takes no room
        file.truncate(end + 100)
    known = ((f"{place:05d}", size, 0) for place, size in enumerate(sizes))
    output = ZipOutput(tmp_path / "images", known)
    output.add("last", b"four")
    output.finish(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert len(archive.namelist()) == 70_004 and archive.read("last") == b"four"
        assert archive.getinfo("last").header_offset == end > 1 << 32
        assert archive.getinfo("00002").file_size == sizes[2]


def test_other_settings_are_refused(photos, tmp_path):
    out = tmp_path / "out.zip"
    with Kills(7), pytest.raises(Killed):
        prepare(photos, out, resolution=8)
    with pytest.raises(DataError, match=r"out\.zip\.partial was begun with resolution 8, got 4"):
        prepare(photos, out, resolution=4)
    with pytest.raises(
        DataError, match=r"begun with limit None, got 5.*remove .*out\.zip\.partial"
    ):
        prepare(photos, out, resolution=8, limit=5)
    (photos / "b/01.png").write_bytes(picture(99))
    with pytest.raises(DataError, match=r"b/01\.png .* has changed since"):
        prepare(photos, out, resolution=8)
    (photos / "b/03.png").unlink()
    with pytest.raises(DataError, match="begun with other source images"):
        prepare(photos, out, resolution=8)


def test_what_is_there_is_not_made_again_or_overwritten(photos, tmp_path):
    for name in ("out.zip", "out"):
        out = tmp_path / name
        report = prepare(photos, out, resolution=8)
        before = contents(out)
        with Kills(1):
            assert prepare(photos, out, resolution=8, workers=3) == report
        with pytest.raises(DataError, match=rf"{name} was made with resolution 8, got 4"):
            prepare(photos, out, resolution=4)
        assert contents(out) == before
    for name, files in {"mine.zip": None, "mine": {"a.png": picture(1)}}.items():
        out = tmp_path / name
        write_zip(out, {"a.png": picture(1)}) if files is None else write_folder(out, files)
        with pytest.raises(DataError, match=rf"{name} is there, and no prepared data set"):
            prepare(photos, out, resolution=8)
    (tmp_path / "empty").mkdir()
    assert prepare(photos, tmp_path / "empty", resolution=8)["kept"] == 12


def test_lost_images_are_noticed(photos, tmp_path):
    for name in ("out.zip", "out"):
        with Kills(9), pytest.raises(Killed):
            prepare(photos, tmp_path / name, resolution=8)
        images = tmp_path / f"{name}.partial" / "images"
        if images.is_file():
            os.truncate(images, 100)
        else:
            next(images.rglob("*.png")).unlink()
        with pytest.raises(DataError, match=rf"{name}\.partial has lost images"):
            prepare(photos, tmp_path / name, resolution=8)


def test_one_process_at_a_time(photos, tmp_path):
    work = tmp_path / "out.zip.partial"
    work.mkdir()
    with (work / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RunLockedError, match=r"another process is preparing .*out\.zip"):
            prepare(photos, tmp_path / "out.zip", resolution=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 0}, "--resolution"),
        ({"workers": 0}, "--workers"),
        ({"limit": 0}, "--limit"),
        ({"form": "tar"}, "'tar', expected zip or folder; change --format"),
        ({"form": "zip", "out": "folder"}, r"ends in \.zip; change OUT or --format"),
        ({"on_corrupt": "ignore"}, "--on-corrupt"),
        ({"only": "lsun_cats"}, "lsun_tower256.*--only"),
        ({"only": "ffhq256", "limit": 3}, "--only and --limit"),
        ({"only": "ffhq256"}, "got 17 images.*expected the 70,000 of FFHQ"),
        ({"out": "photos/out.zip"}, "whose images it would join; change OUT"),
        ({"out": "photos"}, "change OUT"),
        ({"source": "nowhere"}, "no such file or folder.*`SRC`"),
    ],
)
def test_bad_arguments_name_their_flag(photos, tmp_path, changes, message):
    settings = {"source": "photos", "out": "out.zip", "resolution": 8, **changes}
    source, out = (tmp_path / settings.pop(key) for key in ("source", "out"))
    with pytest.raises((ConfigError, DataError), match=message):
        prepare(source, out, **settings)
    assert not (tmp_path / "out.zip.partial").exists()


def test_a_source_without_a_usable_image_is_refused(photos, tmp_path):
    with pytest.raises(DataError, match=r"none of the 17 images.*15 small.*--resolution"):
        prepare(photos, tmp_path / "out.zip", resolution=999)
    assert beside(tmp_path / "out.zip") == set()


def test_a_full_disk_is_said_and_gone_on_from(photos, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            DataError, match=r"cannot write .*out\.zip.*No space left.*again to continue"
        ):
            prepare(photos, tmp_path / "out.zip", resolution=8)
    assert prepare(photos, tmp_path / "out.zip", resolution=8)["kept"] == 12


def test_a_device_that_does_not_answer_drops_no_image(photos, tmp_path, monkeypatch):
    read = source.read_bounded

    def failing(path, *, most):
        if path.name == "04.png":
            raise OSError(5, "Input/output error")
        return read(path, most=most)

    with monkeypatch.context() as patch:
        patch.setattr(source, "read_bounded", failing)
        with pytest.raises(DataError, match=r"b/04\.png.*Input/output error"):
            prepare(photos, tmp_path / "out.zip", resolution=8)
    (photos / "b/08.png").unlink()
    (photos / "b/08.png").symlink_to("gone.png")  # a dangling link never answers
    (tmp_path / "out.zip.partial").rename(tmp_path / "old")
    report = prepare(photos, tmp_path / "out.zip", resolution=8)
    assert report["kept"] == 11 and report["dropped"]["corrupt"] == 3
