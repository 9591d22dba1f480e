"""Jobs that a cluster interrupts: saved, queued again by one manager, and the same in the end."""

import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idinvert.tracking.run_files import read_status

from .runs import rows_of, same_checkpoints

pytestmark = pytest.mark.slow
SECONDS = 1200
SETTINGS = ("checkpoint.every_nimg=160", "logging.validate_every_nimg=320", "nimg=1200")


def until(what: Callable[[], Any], process: Any) -> Any:
    """Polls for something true while a process lives."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := what():
            return found
        time.sleep(0.02)
    process.kill()
    raise AssertionError(process.communicate()[0])


def checkpoint_in(outputs: Path) -> Path | None:
    """The folder of the run that has written a checkpoint."""
    found = list(outputs.glob("domain_guided/*/checkpoints/*.ckpt"))
    return found[0].parents[1] if found else None


def task_of(outputs: Path) -> int | None:
    """The process that submitit's controller runs the job in; the job's id is the controller's."""
    for folder in outputs.glob("**/submitit/*"):
        if folder.name.isdigit():
            children = Path(f"/proc/{folder.name}/task/{folder.name}/children").read_text()
            return int(children.split()[0]) if children else None
    return None


def test_a_submitit_job_is_interrupted_queued_again_and_ends_as_if_it_had_not_been(
    train_tiny, overrides, start, tmp_path
):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    outputs = tmp_path / "broken"
    words = overrides("domain_guided", *SETTINGS, where="broken")
    sweep = start(["-m", *words, "hydra/launcher=submitit_local"])
    folder = until(lambda: checkpoint_in(outputs), sweep)
    os.kill(until(lambda: task_of(outputs), sweep), signal.SIGUSR2)
    said, _ = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, said
    assert read_status(folder) == {"state": "finished", "nimg": 1200}

    logs = "".join(path.read_text() for path in sorted(outputs.glob("**/submitit/*/*.out")))
    logs += "".join(path.read_text() for path in sorted(outputs.glob("**/submitit/*/*.err")))
    assert logs.count("SIGUSR2: finishing this step and saving") == 1
    assert logs.count("starting domain_guided") == logs.count("continuing domain_guided") == 1
    assert "Requeued job" in logs
    unbroken = train_tiny("domain_guided", *SETTINGS, "system.num_threads=1", where="whole")
    assert unbroken.name == folder.name
    same_checkpoints(unbroken, folder)
    assert len(rows_of(folder)) >= len(rows_of(unbroken))  # one validation more where it stopped


def test_two_slurm_tasks_are_interrupted_queued_again_once_and_go_on(
    overrides, start, tmp_path, monkeypatch
):
    """Slurm is its variables, set by hand, and a ``scontrol`` that keeps its words."""
    script, asked = tmp_path / "scontrol", tmp_path / "asked"
    script.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = {"JOB_ID": "4711", "JOB_NAME": "train", "NTASKS": "2", "NTASKS_PER_NODE": "2",
           "NNODES": "1", "NODEID": "0", "STEP_ID": "0", "NODELIST": "127.0.0.1"}  # fmt: skip
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")

    def srun(where):
        words = overrides("domain_guided", *SETTINGS, "batch_size=8", where=where)
        words += ["trainer=ddp_cpu", "data.val=0"]
        tasks = []
        for rank in ("0", "1"):
            monkeypatch.setenv("SLURM_PROCID", rank)
            monkeypatch.setenv("SLURM_LOCALID", rank)
            tasks.append(start(words))
        return tasks

    def ended(tasks):
        outputs = [task.communicate(timeout=SECONDS)[0] for task in tasks]
        assert [task.returncode for task in tasks] == [0, 0], outputs
        return outputs

    tasks = srun("broken")
    folder = until(lambda: checkpoint_in(tmp_path / "broken"), tasks[0])
    for task in tasks:
        task.send_signal(signal.SIGUSR1)
    outputs = ended(tasks)
    assert asked.read_text().splitlines() == ["requeue 4711"]
    assert "SIGUSR1: finishing this step and saving" in outputs[0]
    assert "queued Slurm job 4711 again" in outputs[0]
    assert read_status(folder)["state"] == "stopped"
    assert not list(folder.glob("**/hpc_ckpt*"))  # Lightning keeps out of it
    assert "continuing domain_guided" in ended(srun("broken"))[0]
    assert read_status(folder) == {"state": "finished", "nimg": 1200}
    ended(srun("whole"))
    same_checkpoints(checkpoint_in(tmp_path / "whole"), folder)
    assert asked.read_text().count("\n") == 1
