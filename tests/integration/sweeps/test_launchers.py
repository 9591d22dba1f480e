"""Sweeps in processes of their own: joblib's workers, submitit's jobs, a real Ctrl-C."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idinvert.cli.commands import run_app
from idinvert.cli.evaluate import evaluate
from idinvert.cli.train import train
from idinvert.config.run_folder import first_command
from idinvert.results.record import read_records
from idinvert.tracking.run_files import read_status
from tests.cli.conftest import hydra_put_back
from tests.processes import Program, end, finish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
TINY = (
    "experiment=attributes",
    "attributes.width=8",
    "scale.resolution=8",
    "scale.channels=[8,8]",
    "data.train=32",
    "data.test=8",
    "data.val=8",
    "batch_size=4",
    "nimg=8",
    "logging.every_nimg=4",
    "logging.validate_every_nimg=8",
    "logging.panel_every_nimg=1000000",
    "system.num_threads=1",
)
Sweep = Callable[..., str]


@pytest.fixture
def sweep(tmp_path, monkeypatch, capfd):
    """``train.py -m WORDS`` in this process, whose jobs have theirs; returns what was printed.

    joblib's workers stay for the next sweep, in the folder in which they began.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    works: dict[str, Any] = {"train": train, "evaluate": evaluate}

    def go(*words, code, program="train"):
        outputs = f"system.outputs={tmp_path / 'outputs'}"
        monkeypatch.setattr(sys, "argv", [f"{program}.py", "-m", *words, outputs])
        status: Any = 0
        try:
            run_app(program, works[program])
        except SystemExit as end:
            status = end.code or 0
        printed = capfd.readouterr()
        assert status == code, printed.out + printed.err
        return printed.out + printed.err

    with hydra_put_back():
        yield go


@pytest.fixture
def start(tmp_path):
    """Starts ``train.py -m WORDS`` in a folder of the test's own; no process outlives the test."""
    processes: list[Program] = []

    def go(*words):
        processes.append(Program("train", ["-m", *words], cwd=tmp_path))
        return processes[-1]

    yield go
    end(processes)


def jobs(folder: Path) -> list[dict[str, Any]]:
    """The lines of the newest table."""
    newest = max(
        (folder / "outputs" / "sweeps").glob("*/table.json"), key=lambda path: path.stat().st_mtime
    )
    return json.loads(newest.read_text())["jobs"]


def test_joblibs_jobs_are_checked_named_and_done_once(sweep, tmp_path):
    words = (*TINY, "trainer=cpu", "hydra/launcher=joblib", "system.num_workers=1", "seed=0,1")
    output = sweep(*words, "run=null,nope", code=1)
    states = {tuple(job["words"][-3:-1]): job["state"] for job in jobs(tmp_path)}
    assert states == {
        ("seed=0", "run=null"): "ran",
        ("seed=1", "run=null"): "ran",
        ("seed=0", "run=nope"): "failed",
        ("seed=1", "run=nope"): "failed",
    }
    assert "run=nope is neither a run's folder nor the id of one" in output
    assert "4 jobs: " in output and "Traceback" not in output
    assert "validated against ConfigStore" not in output and "eval mode" not in output
    runs = [Path(job["folder"]) for job in jobs(tmp_path) if job["state"] == "ran"]
    assert len(set(runs)) == 2
    for run, seed in zip(runs, (0, 1), strict=True):
        command = first_command(run)
        assert command is not None and command.startswith("train.py experiment=attributes ")
        assert f"seed={seed}" in command
        assert "-m" not in command.split() and "hydra" not in command

    saved = {path: path.stat().st_mtime_ns for run in runs for path in run.glob("checkpoints/*")}
    assert saved
    sweep(*words[:-1], "seed=0,1,2,2", code=0)
    kinds = [job["state"] for job in jobs(tmp_path)]
    assert kinds[:2] == ["done before"] * 2 and sorted(kinds[2:]) == ["done before", "ran"]
    assert {path: path.stat().st_mtime_ns for path in saved} == saved


def test_submitits_job_is_one_run_on_two_ranks(sweep, tmp_path):
    words = (*TINY, "trainer=ddp_cpu", "hydra/launcher=submitit_local")
    sweep(*words, "hydra.launcher.tasks_per_node=2", "seed=3", code=0)
    (job,) = jobs(tmp_path)
    assert (job["state"], job["metric"]) == ("ran", "val/mse_pose")
    (run,) = (tmp_path / "outputs" / "attributes").iterdir()
    assert read_status(run) == {"state": "finished", "nimg": 8}
    command = first_command(run)
    assert command is not None and command.startswith("train.py experiment=attributes ")
    assert command.endswith("trainer=ddp_cpu seed=3")
    logs = sorted((tmp_path / "outputs" / "sweeps").glob("*/submitit/*/*_log.out"))
    assert [log.name[-9] for log in logs] == ["0", "1"], "a log for each rank"
    texts = [log.read_text() for log in logs]
    assert "finished at 8 images" in texts[0] and "finished at" not in texts[1]


def test_evaluations_of_one_run_wait_for_each_other_and_are_measured_once(sweep, tmp_path):
    words = ("hydra/launcher=joblib", "trainer=cpu", "inversion=encoder", "metric.names=[mse]")
    words += ("data.train=16", "data.val=4", "data.test=8", "n=2,4", "system.num_threads=1")
    sweep(*words, program="evaluate", code=0)
    assert [job["state"] for job in jobs(tmp_path)] == ["ran", "ran"]
    records = read_records(tmp_path / "outputs" / "records.jsonl")
    assert sorted(record.n for record in records) == [2, 4]
    assert all(record.command.startswith("evaluate.py trainer=cpu") for record in records)
    sweep(*words, program="evaluate", code=0)
    assert [job["state"] for job in jobs(tmp_path)] == ["done before", "done before"]
    assert len(read_records(tmp_path / "outputs" / "records.jsonl")) == 2


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_control_c_saves_and_says_what_stands(start, tmp_path, launcher):
    words = (*TINY, "trainer=cpu", "nimg=100000000", "seed=0,1", f"hydra/launcher={launcher}")
    words += ("hydra.launcher.n_jobs=1",) if launcher == "joblib" else ()
    process = start(*words)
    deadline = time.monotonic() + 1000
    while not list(tmp_path.glob("outputs/attributes/*/metrics.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does: all processes of the command
    output = finish(process, code=130)
    assert [job["state"] for job in jobs(tmp_path)] == ["interrupted", "not started"]
    last = output.strip().splitlines()[-1]
    assert last.startswith("to continue: python train.py -m experiment=attributes ")
    assert last.endswith(" ".join(words[len(TINY) :]))
    if launcher == "basic":
        (run,) = (tmp_path / "outputs" / "attributes").iterdir()
        assert read_status(run)["state"] == "stopped" and list(run.glob("checkpoints/*.ckpt"))
