"""Jobs of a sweep: one that fails keeps no other from running, and the end says how each stands."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idinvert.cli import sweep_job
from idinvert.config.run_folder import locked
from idinvert.errors import ConfigError, DivergenceError
from idinvert.results.record import Record

Command = Callable[..., int]
Table = Callable[[], dict[str, Any]]


def states(table: Table) -> list[str]:
    return [job["state"] for job in table()["jobs"]]


def test_errors_of_all_kinds_leave_the_other_jobs_running(command, table, trained, capsys):
    def work(config):
        seed = config["seed"]
        if seed == 1:
            raise ConfigError("that\ncannot be")
        if seed == 2:
            raise KeyError("nobody expected this")
        if seed == 3:
            raise DivergenceError("training ended above the mean image")
        return trained(f"run{seed}", mse=0.5 + seed)

    assert command(work, "-m", "seed=0,1,2,3,4") == 1
    printed = capsys.readouterr()
    assert printed.err.count("error: ") == 3 and "Traceback" not in printed.err + printed.out
    assert states(table) == ["ran", "failed", "failed", "diverged", "ran"]
    jobs = table()["jobs"]
    assert [job["value"] for job in jobs] == [0.5, None, None, None, 4.5]
    assert jobs[0]["metric"] == "val/mse" and jobs[0]["folder"].endswith("run0")
    assert jobs[1]["detail"] == "that cannot be" and jobs[1]["traceback"] is None
    assert jobs[2]["detail"] == "KeyError: 'nobody expected this'"
    trace = Path(jobs[2]["traceback"]).read_text()
    assert 'raise KeyError("nobody expected this")' in trace
    lines = printed.out.splitlines()
    assert ["0", "seed=0", "ran", "val/mse", "0.5"] in map(str.split, lines)
    assert ["1", "seed=1", "failed", "that", "cannot", "be"] in map(str.split, lines)
    assert "5 jobs: 2 ran, 2 failed, 1 diverged" in lines


def test_a_sweep_without_failures_exits_clean_and_is_the_same_sweep_next_time(
    command, table, trained
):
    assert command(lambda config: trained(f"run{config['seed']}", mse=1.0), "-m", "seed=0,1") == 0
    assert states(table) == ["ran", "ran"]
    folders = [Path(job["folder"]) for job in table()["jobs"]]

    def again(config):
        return folders[config["seed"]]

    assert command(again, "-m", "hydra.verbose=false", "seed=0,1") == 0
    assert states(table) == ["done before", "done before"], "one table: hydra's words do not count"


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit], ids=["plain", "Lightning's exit"])
def test_control_c_ends_the_sweep_with_what_stands(command, table, trained, capsys, how):
    def work(config):
        if config["seed"] == 1:
            raise how
        return trained(f"run{config['seed']}", mse=1.0)

    assert command(work, "-m", "seed=0,1,2", "objective.lr=1e-3") == 130
    assert states(table) == ["ran", "interrupted", "not started"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "to continue: python train.py -m seed=0,1,2 objective.lr=1e-3"


@pytest.mark.parametrize(("stopped_by", "code"), [("SIGINT", 130), ("SIGTERM", 130), (None, 0)])
def test_a_run_that_saved_and_returned_because_of_a_signal_ends_the_sweep_too(
    command, table, trained, stopped_by, code
):
    def work(config):
        run = f"run{config['seed']}"
        return trained(run, state="stopped", stopped_by=stopped_by, mse=1.0)

    assert command(work, "-m", "seed=0,1") == code
    assert states(table) == (["stopped"] * 2 if code == 0 else ["interrupted", "not started"])


def test_each_job_works_with_its_own_command_line(command, table, trained, capsys):
    seen: list[list[str]] = []

    def work(config):
        seen.append(sys.argv)
        return trained(f"run{len(seen)}")

    words = ["-m", "experiment=table6_noise", "row=1,2", "seed=3", "nimg=4"]
    assert command(work, *words) == 0
    assert [argv[0] for argv in seen] == ["train.py"] * 2
    assert [word for word in seen[1] if "noise_blocks" in word] == ["encoder.noise_blocks=2"]
    assert not any(word.startswith(("row=", "hydra")) for argv in seen for word in argv)
    assert f"python train.py {' '.join(seen[1][1:])}" in capsys.readouterr().out
    assert sys.argv[:2] == ["train.py", "experiment=table6_noise"] and "-m" in sys.argv


def test_a_run_that_is_at_work_elsewhere_is_not_trained_twice(command, table, tmp_path):
    folder = tmp_path / "outputs" / "objective" / "same"

    def work(config):
        with locked(folder):
            return folder

    with locked(folder):
        assert command(work, "-m", "seed=0") == 1
    (job,) = table()["jobs"]
    assert job["state"] == "busy elsewhere" and str(folder) in job["detail"]


def test_an_evaluation_waits_for_the_one_before_it(command, table, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    other = locked(folder)
    other.__enter__()
    monkeypatch.setattr(sweep_job.time, "sleep", lambda seconds: other.__exit__(None, None, None))

    def work(config):
        with locked(folder):
            metrics = {"mse": 0.25, "ssim": 0.5}
            return [Record(run="r", task="t", choices={}, metrics=metrics, n=1, nimg=0, data={})]

    assert command(work, "-m", "seed=0", program="evaluate") == 0
    (job,) = table()["jobs"]
    assert (job["state"], job["metric"], job["value"]) == ("ran", "mse", 0.25)


def test_the_very_same_sweep_does_not_run_twice_at_once(command, tmp_path, capsys):
    inner: list[int] = []

    def work(config):
        (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
        with pytest.raises(Exception, match="in use by process"), locked(folder):
            pass
        inner.append(1)

    assert command(work, "-m", "seed=0") == 0 and inner == [1]


def test_a_metric_that_does_not_exist_ends_the_sweep_with_those_that_do(
    command, table, trained, capsys
):
    made: list[int] = []

    def work(config):
        made.append(config["seed"])
        return trained(f"run{config['seed']}", mse=1.0, mse_of_mean_image=2.0)

    assert command(work, "-m", "seed=0,1", "optimized_metric=val/mes") == 1
    error = capsys.readouterr().err
    assert "optimized_metric=val/mes: no such metric. Did you mean 'val/mse'?" in error
    assert "Known here: val/mse, val/mse_of_mean_image." in error
    assert made == [0], "no job trains for a figure that will not be there"
    assert states(table) == ["failed", "not started"]


def test_no_figure_and_no_finite_figure_are_failures(command, table, trained):
    def work(config):
        return trained(f"run{config['seed']}", mse=[float("nan"), 0.5][config["seed"]])

    assert command(work, "-m", "seed=0,1", "optimized_metric=val/mse") == 1
    assert states(table) == ["failed", "ran"]
    assert "val/mse ended as nan" in table()["jobs"][0]["detail"]


def test_a_run_that_diverged_before_is_no_good_now(command, table, trained):
    assert command(lambda config: trained("run", state="diverged", mse=1.0), "-m", "seed=0") == 1
    assert states(table) == ["diverged"]
