"""Hashes by content: remembered while nothing changes, computed anew on demand."""

import os
import time
from pathlib import Path

import pytest

from idinvert.data import content
from idinvert.data.content import computed_anew, content_hash, file_hash
from idinvert.errors import DataError

OLD = time.time() - 3600


def write(path: Path, text: str, *, at: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


@pytest.fixture
def opened(monkeypatch):
    """The files that are read for their hash."""
    read: list[str] = []

    def digest(file, name):
        read.append(Path(file.name).name)
        return original(file, name)

    original = content.hashlib.file_digest
    monkeypatch.setattr(content.hashlib, "file_digest", digest)
    return read


def test_a_file_is_read_once_until_it_changes(tmp_path, opened):
    path = write(tmp_path / "a", "one")
    first = file_hash(path)
    assert file_hash(path) == first and opened == ["a"]
    write(path, "two")  # same size and time; the inode stays as well: only the clock is older
    os.utime(path, (OLD + 1, OLD + 1))
    assert file_hash(path) != first and opened == ["a", "a"]
    other = write(tmp_path / "b", "six", at=OLD + 1)
    os.replace(other, path)  # same size, same time, another inode
    assert file_hash(path) != first and len(opened) == 3


def test_what_has_just_changed_is_read_again(tmp_path, opened):
    path = write(tmp_path / "a", "one", at=time.time())
    assert file_hash(path) == file_hash(path) and opened == ["a", "a"]


def test_a_folder_is_its_names_and_what_they_hold(tmp_path, opened):
    for root in ("here", "there"):
        for name in ("b/c.png", "a.png"):
            write(tmp_path / root / name, name)
    write(tmp_path / "there" / ".hidden", "x")
    first = content_hash(tmp_path / "here")
    assert first == content_hash(tmp_path / "there") == content_hash(tmp_path / "here")
    assert len(opened) == 4
    write(tmp_path / "here" / "a.png", "A.PNG", at=OLD + 5)
    changed = content_hash(tmp_path / "here")
    (tmp_path / "there" / "a.png").rename(tmp_path / "there" / "d.png")
    assert len({first, changed, content_hash(tmp_path / "there")}) == 3
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    assert content_hash(tmp_path / "here") == changed
    (tmp_path / "here" / "gone").symlink_to(tmp_path / "nowhere")
    assert content_hash(tmp_path / "here") not in (first, changed)


def test_verify_reads_everything_once_more(tmp_path, opened):
    path = write(tmp_path / "f" / "a", "one")
    before = os.stat(path)
    first = content_hash(tmp_path / "f")
    path.write_text("two")  # a change that size, time and inode do not tell
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert content_hash(tmp_path / "f") == first
    with computed_anew(True):
        second = content_hash(tmp_path / "f")
        assert content_hash(tmp_path / "f") == second != first
    assert opened == ["a", "a"] and content_hash(tmp_path / "f") == second
    with computed_anew(False):
        assert content_hash(tmp_path / "f") == second
    assert opened == ["a", "a"]


def test_what_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        content_hash(tmp_path / "nowhere")


def test_a_cache_that_cannot_be_used_costs_time_alone(tmp_path, opened, monkeypatch):
    path = write(tmp_path / "a", "one")
    write(tmp_path / "cache", "a file where a folder should be")
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    assert file_hash(path) == file_hash(path) and opened == ["a", "a"]
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "new"))
    first = file_hash(path)
    (index,) = (tmp_path / "new" / "hashes").iterdir()
    index.write_text("{broken")
    assert file_hash(path) == first
