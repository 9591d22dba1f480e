"""Who queues a job again after which signal; ``scontrol`` is a script that keeps its words."""

import os
import signal
import stat

import pytest

from idinvert.cli.slurm import queue_again, requeued_on_signal

CLUSTER = ("SUBMITIT_EXECUTOR", "SUBMITIT_PREEMPT_SIGNAL", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID",
           "SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "TORCHELASTIC_RUN_ID")  # fmt: skip


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Puts a ``scontrol`` first in the path; returns what it was asked to requeue."""
    for name in CLUSTER:
        monkeypatch.delenv(name, raising=False)
    script, words = tmp_path / "scontrol", tmp_path / "words"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def asked():
        lines = words.read_text().splitlines() if words.exists() else []
        return [line for line in lines if line.startswith("requeue")]

    def install(state, *, code=0):
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {words}\n'
            f'[ "$1" = show ] && echo "JobId=7 JobName=t JobState={state} Reason=None" && exit 0\n'
            f"echo 'Invalid job id' >&2\nexit {code}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return asked

    return install


@pytest.mark.parametrize(
    ("by", "state", "comes_back"),
    [
        ("SIGUSR1", "COMPLETING", True),  # asked for with --signal, whatever Slurm makes of it
        ("SIGTERM", "RUNNING", True),  # in the grace time of a preemption
        ("SIGTERM", "CANCELLED", False),
        ("SIGTERM", "PENDING", False),  # Slurm has queued it again itself
        ("SIGINT", "RUNNING", False),
        (None, "RUNNING", False),
    ],
)
def test_a_slurm_job_comes_back_unless_it_was_cancelled(
    scontrol, monkeypatch, by, state, comes_back
):
    asked = scontrol(state)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    queue_again(by)
    assert asked() == (["requeue 7"] if comes_back else [])


def test_only_the_first_rank_asks(scontrol, monkeypatch):
    asked = scontrol("RUNNING")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_PROCID", "1")
    queue_again("SIGUSR1")
    assert asked() == []


def test_of_an_array_one_task_comes_back(scontrol, monkeypatch):
    asked = scontrol("RUNNING")
    names = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    queue_again("SIGUSR1")
    assert asked() == ["requeue 7_2"]


def test_outside_a_cluster_nothing_is_asked(scontrol):
    asked = scontrol("RUNNING")
    queue_again("SIGUSR1")
    queue_again("SIGTERM")
    with requeued_on_signal():
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert asked() == []


def test_a_refusal_is_said_with_what_to_do(scontrol, monkeypatch, capsys):
    scontrol("RUNNING", code=1)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    queue_again("SIGUSR1")
    expected = "could not queue Slurm job 7 again (Invalid job id). By hand: scontrol requeue 7"
    assert expected in capsys.readouterr().out
    monkeypatch.setenv("PATH", "")
    queue_again("SIGUSR1")
    assert "By hand: scontrol requeue 7" in capsys.readouterr().out


def test_before_and_after_training_a_signal_queues_at_once(scontrol, monkeypatch):
    asked = scontrol("RUNNING")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(SystemExit) as caught, requeued_on_signal():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert caught.value.code == 128 + signal.SIGUSR1
    assert asked() == ["requeue 7"]
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.fixture
def submitit_handler():
    """Stands where submitit's handler stands in its jobs."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(
    ("by", "executor", "state", "handed_on"),
    [
        ("SIGUSR2", "local", None, True),
        ("SIGUSR2", "slurm", "COMPLETING", True),
        ("SIGUSR1", "slurm", "RUNNING", True),
        ("SIGTERM", "slurm", "RUNNING", True),
        ("SIGTERM", "local", None, False),
    ],
)
def test_submitit_queues_its_own_jobs(
    scontrol, monkeypatch, submitit_handler, by, executor, state, handed_on
):
    asked = scontrol(state or "none")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)
    if state:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    queue_again(by)
    assert submitit_handler == ([signal.SIGUSR2] if handed_on else [])
    assert asked() == []  # one manager


def test_a_cancelled_submitit_job_leaves_no_result(scontrol, monkeypatch, submitit_handler):
    scontrol("CANCELLED")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(SystemExit) as caught:
        queue_again("SIGTERM")
    assert caught.value.code == 128 + signal.SIGTERM
    assert submitit_handler == []


def test_a_process_beside_submitits_own_has_no_handler_to_hand_on_to(monkeypatch):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    queue_again("SIGUSR2")  # and this process lives
