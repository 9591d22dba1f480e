"""Files that appear whole or not at all: what is flushed when, what is swept, what is checked."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from idinvert import durable
from idinvert.errors import IdinvertError, OutputError


def test_a_file_is_flushed_then_renamed_then_its_folder_is_flushed(tmp_path, monkeypatch):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor):
        done.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name[:5]}")
        fsync(descriptor)

    def renamed(source, target):
        done.append(f"rename {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    durable.write(tmp_path / "below" / "file", "text")
    assert done[1:] == ["flush .file", "rename file", "flush below"]  # first, the new folder's own
    assert (tmp_path / "below" / "file").read_text() == "text"
    done.clear()
    durable.append(tmp_path / "below" / "lines", "one")
    assert done == ["flush lines"]


@pytest.mark.parametrize("place", ["fsync", "replace", "chmod"])
def test_a_full_disk_leaves_the_old_file_and_says_which_key(tmp_path, monkeypatch, place):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = durable.write(tmp_path / "file", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, place, full)
        with pytest.raises(OutputError, match=r"file: could.*No space left.*system\.outputs"):
            durable.write(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written_are_one_error(tmp_path):
    (tmp_path / "file").touch()
    for write in (durable.write, durable.append):
        with pytest.raises(IdinvertError, match=r"could not be written.*system\.outputs"):
            write(tmp_path / "file" / "below" / "x", "text")


def test_leftovers_of_killed_processes_are_swept_and_others_work_on(tmp_path):
    left, busy = tmp_path / ".file.abc.tmp", tmp_path / ".file.def.tmp"
    left.touch()
    with open(busy, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        durable.sweep.cache_clear()
        durable.write(tmp_path / "other", "text")
        assert not left.exists() and busy.exists()


def test_a_line_behind_a_torn_one_is_a_line_of_its_own(tmp_path):
    path = tmp_path / "lines"
    durable.append(path, "one")
    path.write_bytes(path.read_bytes() + b"tor")
    durable.append(path, "two")
    assert path.read_text().splitlines() == ["one", "tor", "two"]


def test_sums_are_those_of_sha256sum_and_tell_what_is_damaged(tmp_path):
    files = [durable.write(tmp_path / name, name) for name in ("a", "below/b")]
    durable.write_sums(tmp_path, files)
    line = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a"
    assert (tmp_path / durable.SUMS).read_text().splitlines()[0] == line
    assert durable.damaged(tmp_path) == []
    files[0].write_text("b")
    files[1].unlink()
    assert durable.damaged(tmp_path) == ["a", "below/b"]
