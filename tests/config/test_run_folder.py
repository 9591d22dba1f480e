"""Runs are found by path or id, and belong to one process at a time."""

import multiprocessing
from pathlib import Path

import pytest

from idinvert.config import run_folder
from idinvert.errors import ConfigError, RunLockedError


def test_a_run_is_found_by_path_and_by_the_start_of_its_id(tmp_path):
    for name in ("aa11", "ab22"):
        run_folder.write_config(tmp_path / "gan" / name, {"seed": 0})
    assert run_folder.find_run("aa", outputs=tmp_path) == tmp_path / "gan" / "aa11"
    assert run_folder.find_run(str(tmp_path / "gan" / "ab22"), outputs=tmp_path).name == "ab22"
    assert run_folder.read_config(tmp_path / "gan" / "aa11") == {"seed": 0}
    with pytest.raises(ConfigError, match="2 runs"):
        run_folder.find_run("a", outputs=tmp_path)
    with pytest.raises(ConfigError, match="aa11"):
        run_folder.find_run("aa12", outputs=tmp_path)


def test_no_runs_at_all_names_the_key(tmp_path):
    with pytest.raises(ConfigError, match=r"system\.outputs"):
        run_folder.find_run("x", outputs=tmp_path)


def _try(folder: Path, answers: "multiprocessing.Queue[str]") -> None:
    try:
        with run_folder.locked(folder):
            answers.put("entered")
    except RunLockedError as error:
        answers.put(str(error))


def test_a_second_process_is_kept_out_and_let_in_afterwards(tmp_path):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    for inside in (True, False):
        process = context.Process(target=_try, args=(tmp_path, answers))
        if inside:
            with run_folder.locked(tmp_path):
                process.start()
                process.join()
        else:
            process.start()
            process.join()
    assert "in use by process" in answers.get(timeout=5)
    assert answers.get(timeout=5) == "entered"


def test_the_command_that_started_a_run_heads_its_configuration_for_good(tmp_path):
    run_folder.write_config(tmp_path, {"seed": 0}, command="train.py experiment=gan")
    run_folder.write_config(tmp_path, {"seed": 0, "nimg": 8}, command="train.py run=abc nimg=8")
    assert run_folder.first_command(tmp_path) == "train.py experiment=gan"
    assert run_folder.read_config(tmp_path) == {"seed": 0, "nimg": 8}


def test_a_configuration_without_a_heading_has_no_first_command(tmp_path):
    run_folder.write_config(tmp_path, {"seed": 0})
    assert run_folder.first_command(tmp_path) is None
    assert run_folder.first_command(tmp_path / "nowhere") is None


def test_a_stored_configuration_names_classes_where_they_are_now(tmp_path):
    node = {"_target_": "idinvert.data.miniature.faces_mini", "path": "idinvert.weights."}
    run_folder.write_config(tmp_path, {"data": node})
    name = "idinvert.toy.miniature.faces_mini"
    assert run_folder.read_config(tmp_path) == {"data": node | {"_target_": name}}


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_only_the_first_process_of_several_locks_and_writes(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "0")
    assert run_folder.is_first_process()
    with run_folder.locked(tmp_path):
        monkeypatch.setenv(variable, "1")
        assert not run_folder.is_first_process()
        with run_folder.locked(tmp_path):  # a rank beside the first is let in
            pass
