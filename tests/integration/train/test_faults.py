"""A kill and a full disk at each write of a run, and files that are damaged when it goes on."""

import errno
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from idinvert import durable
from idinvert.errors import CheckpointError, IdinvertError
from idinvert.tracking.run_files import read_status
from tests.odd_files import ODD

from .runs import rows_of, same_checkpoints

SETTINGS = ("nimg=32", "checkpoint.keep=1", "logging.panel_steps=null")
Compare = Callable[[Path, Path], None]


@pytest.fixture
def same():
    """Compares all that two runs left, bit for bit but for speed."""

    def compare(one, other):
        durable.sweep.cache_clear()
        names = [
            sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
            for run in (one, other)
        ]
        assert names[0] == names[1]
        for name in names[0]:
            if name.endswith((".safetensors", ".png")):
                assert (one / name).read_bytes() == (other / name).read_bytes(), name
        same_checkpoints(one, other)
        assert rows_of(one) == rows_of(other)
        assert read_status(one) == read_status(other) == {"state": "finished", "nimg": 32}
        assert durable.damaged(one) == durable.damaged(other) == []
        assert list(durable.read_sums(one)) == list(durable.read_sums(other))

    return compare


@pytest.fixture
def go(train_tiny):
    """Trains a tiny run as a new process would."""

    def run(where):
        durable.sweep.cache_clear()
        return train_tiny("domain_guided", *SETTINGS, where=where)

    return run


@pytest.mark.slow
def test_a_kill_at_each_write(go, at_each_write, same, tmp_path):
    states: list[tuple[Path, Path]] = []

    def keep(path):
        state = tmp_path / f"killed{len(states)}"
        shutil.copytree(tmp_path / "whole", state)
        states.append((path, state))
        torn = state / path.relative_to(tmp_path / "whole")
        if path.name == "metrics.jsonl" and torn.is_file():  # amid the line
            os.truncate(torn, torn.stat().st_size - 20)

    with at_each_write(tmp_path / "whole", keep):
        whole = go("whole")
    names = [path.name for path, _ in states]
    print(f"{len(states)} kills: {names}")
    assert {"config.yaml", "status.json", "metrics.jsonl", "metrics.csv"} < set(names)
    assert names.count("encoder.safetensors") > 2 and names.count(durable.SUMS) > 1
    for _, state in states:
        same(go(state.name), whole)
        shutil.rmtree(state)


@pytest.mark.slow
def test_a_full_disk_at_each_write(go, at_each_write, same, tmp_path):
    def full(path):
        written.append(path)
        if len(written) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    whole, failures, room = go("whole"), 0, 0
    while True:
        written: list[Path] = []
        where = f"full{room}"
        with at_each_write(tmp_path / where, full):
            try:
                go(where)
            except IdinvertError as error:
                failures += 1
                assert "No space left on device" in str(error) and "\n" not in str(error)
            else:
                break  # there was room for all
        same(go(where), whole)
        shutil.rmtree(tmp_path / where)
        room += 1
    print(f"{failures} full disks")
    assert failures > 20


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = len(content) - 1
    if zipfile.is_zipfile(path):  # in its largest tensor
        with zipfile.ZipFile(path) as archive:
            largest = max(archive.infolist(), key=lambda info: info.file_size)
            place = content.index(archive.read(largest)) + 1
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [_cut, _empty, _flip])
@pytest.mark.parametrize("sums", [True, False], ids=["", "older run"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(train_tiny, capsys, harm, sums):
    folder = train_tiny("attributes", "nimg=32")
    before = shutil.copytree(folder, folder.parents[2] / "before")
    first, newest = sorted((folder / "checkpoints").iterdir())
    harm(newest)
    if not sums:
        (folder / durable.SUMS).unlink()
    train_tiny("attributes", "nimg=32")
    out = capsys.readouterr().out
    assert f"{newest} is damaged: training continues from {first}" in out
    assert newest.with_suffix(".damaged").is_file()
    same_checkpoints(folder, before)
    assert durable.damaged(folder) == []

    for path in (folder / "checkpoints").glob("*.ckpt"):
        harm(path)
    with pytest.raises(CheckpointError, match=r"every checkpoint of .* is damaged: nimg-.*delete"):
        train_tiny("attributes", "nimg=32")


def test_a_checkpoint_of_other_tensors_is_refused(train_tiny):
    folder = train_tiny("domain_guided", "nimg=16")
    (newest,) = (folder / "checkpoints").iterdir()
    (folder / durable.SUMS).unlink()  # as a stranger who changes a file would
    good = torch.load(newest, weights_only=True)
    states = good["state_dict"]
    name = next(key for key in states if key.endswith("weight") and states[key].ndim == 4)
    harms = {
        "not finite": lambda t: t * torch.nan,
        "instead of": lambda t: t[..., :1, :1].expand(*t.shape[:2], 2, 2),
        "Int": lambda t: t.int(),
        "Complex": lambda t: t.to(torch.complex64),
        "Float8": lambda t: t.to(torch.float8_e4m3fn),
    }
    for words, harm in harms.items():
        torch.save({**good, "state_dict": {**states, name: harm(states[name])}}, newest)
        with pytest.raises(
            CheckpointError, match=f"(?i){re.escape(name)}.*{words}|{words}.*{name}"
        ):
            train_tiny("domain_guided", "nimg=32")
    torch.save(good, newest)
    train_tiny("domain_guided", "nimg=32")


@pytest.mark.parametrize("harm", [_cut, _empty, _flip, Path.unlink])
def test_a_finished_run_makes_damaged_weights_from_its_checkpoint(train_tiny, harm):
    folder = train_tiny("domain_guided", "nimg=16")
    files = [*(folder / "weights").rglob("encoder.safetensors")]
    good = {path: path.read_bytes() for path in files}
    assert len(files) == 2  # with the best
    for path in files:
        harm(path)
    train_tiny("domain_guided", "nimg=16")
    assert {path: path.read_bytes() for path in files} == good
    assert durable.damaged(folder) == []


@pytest.mark.parametrize(
    "odd", [name if name == "pipe" else pytest.param(name, marks=pytest.mark.slow) for name in ODD]
)
def test_what_is_no_file_in_place_of_each_file(train_tiny, once, ends_well, tmp_path, odd):
    settings = ("domain_guided", "logging.panel_steps=null")
    whole = once(*settings, "nimg=32")
    begun = once(*settings, "nimg=16")
    names = [str(path.relative_to(begun)) for path in begun.rglob("*") if path.is_file()]
    assert len(names) >= 13
    refused = []
    for name in names:
        outputs = tmp_path / "outputs"
        run = shutil.copytree(begun, outputs / begun.parent.name / begun.name)
        (run / name).unlink()
        ODD[odd](run / name)
        error = ends_well("train", lambda: train_tiny(*settings, "nimg=32"))
        if error:
            assert Path(name).name in error and re.search("expected a|damaged|directory", error)
            refused.append(name)
            (run / name).rmdir() if odd == "folder" else (run / name).unlink()
            assert ends_well("train", lambda: train_tiny(*settings, "nimg=32")) == ""
        same_checkpoints(run, whole, validations="weights/best" not in name)
        assert read_status(run) == {"state": "finished", "nimg": 32}
        assert durable.damaged(run) == []
        shutil.rmtree(outputs)
    print(f"{odd}: {len(names)} files, refused: {refused}")


def test_odd_files_of_a_run_stop_nothing(train_tiny):
    folder = train_tiny("attributes", "nimg=32")
    rows = rows_of(folder)
    for content in (b"", b"\xff\xfe", b"[1]", b'{"state": 3}', b"[" * 100_000):
        (folder / "status.json").write_bytes(content)
        assert read_status(folder) == {"state": "unknown", "nimg": 0}
        train_tiny("attributes", "nimg=32")
        assert read_status(folder) == {"state": "finished", "nimg": 32}
    lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    lines[1:1] = [b'{"nimg": 4, "los', b"\xff", b"[3]", b"{}", b'{"nimg": "x"}', b"[" * 100_000]
    (folder / "metrics.jsonl").write_bytes(b"\n".join(lines))
    assert rows_of(folder) == rows
