"""A run whose images or generator moved: where relative paths are read, and what may be given."""

from pathlib import Path

import pytest

from idinvert.cli.commands import _folder_of_run
from idinvert.cli.train import require_same_contents
from idinvert.config.run_folder import _from_start, require_file, write_config, write_contents
from idinvert.errors import ConfigError


def test_relative_paths_are_read_from_where_the_run_was_started(tmp_path, monkeypatch):
    start, elsewhere = tmp_path / "start", tmp_path / "elsewhere"
    folder = start / "outputs" / "gan" / "abc"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    (start / "pics").mkdir()
    stored = {
        "system": {"outputs": "outputs"},
        "data": {"path": "pics"},
        "generator": {"path": "shipped:faces_mini"},
        "metric": {"lpips_path": "gone.pth"},
    }
    monkeypatch.chdir(elsewhere)
    found = _from_start(stored, folder)
    assert found["data"]["path"] == str(start / "pics")
    assert found["generator"] == stored["generator"] and found["metric"] == stored["metric"]
    monkeypatch.chdir(start)
    assert _from_start(stored, Path("outputs/gan/abc")) == stored, "as typed, at the start"
    write_config(folder, {**stored, "system": {"outputs": str(start / "outputs")}})
    assert f"path: {start / 'pics'}" in (folder / "config.yaml").read_text(encoding="utf-8")


def test_a_moved_folder_needs_no_group_and_other_contents_are_refused_by_both_places(tmp_path):
    assert _folder_of_run(["run=abc", "data.path=new"]) == ["data=folder"]
    for words in (["data.path=new"], ["run=abc"], ["run=abc", "data=folder", "data.path=new"]):
        assert _folder_of_run(words) == []
    with pytest.raises(ConfigError, match=r"reads no file at data\.path"):
        require_file({"data": {"_target_": "faces_mini"}}, "data.path", run="abc")
    write_contents(tmp_path, {"data": "11"})
    new, old = ({"data": {"path": path}} for path in ("new", "old"))
    require_same_contents(new, {"data": "11"}, folder=tmp_path, stored=old)
    with pytest.raises(ConfigError, match=r"data\.path=new\) was 11 and is 22.*data\.path=old"):
        require_same_contents(new, {"data": "22"}, folder=tmp_path, stored=old)
