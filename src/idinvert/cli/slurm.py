"""Requeues the job of an interrupted run, through submitit or Slurm but never through Lightning.

See docs/decisions/0010-one-manager-queues-again.md. `training.callbacks.stop` saves before.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from idinvert.config.run_folder import is_first_process

SUBMITIT = "SUBMITIT_EXECUTOR"
SECONDS = 60
"""Timeout of a request to Slurm's controller, which may be busy."""


def queue_again(stopped_by: str | None) -> None:
    """Requeues this cluster job after a signal stopped its run and the run was saved.

    Args:
        stopped_by: Name of the signal. Does nothing for ``None`` and SIGINT, or outside a cluster
            job.

    Raises:
        SystemExit: From submitit, which ends the process after it has requeued the job.
    """
    if stopped_by in (None, "SIGINT"):
        return
    if SUBMITIT in os.environ:
        _through_submitit(stopped_by == "SIGTERM")
    else:
        _through_slurm(asked_to_end=stopped_by == "SIGTERM")


@contextmanager
def requeued_on_signal() -> Iterator[None]:
    """A context in which SIGUSR1 requeues the Slurm job even if no training handles the signal.

    Nothing needs to be saved then: finished work of an evaluation is on disk. Under submitit this
    does nothing, since submitit has its own handlers.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or SUBMITIT in os.environ or _slurm_job() is None:
        yield
        return

    def at_once(number: int, frame: FrameType | None) -> None:
        _through_slurm(asked_to_end=False)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGUSR1, at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _through_submitit(asked_to_end: bool) -> None:
    """Passes the signal to submitit's handler, which was replaced in order to save first."""
    if asked_to_end and not _runs(_slurm_job()):
        if os.environ[SUBMITIT] == "slurm":
            raise SystemExit(128 + signal.SIGTERM)  # no result: Slurm decides whether to requeue
        return
    own = getattr(signal, "SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2"))
    if callable(signal.getsignal(own)):
        signal.raise_signal(own)


def _through_slurm(*, asked_to_end: bool) -> None:
    """Requeues this process's Slurm job, unless it was cancelled or is already being requeued."""
    job = _slurm_job()
    if job is None or not is_first_process() or (asked_to_end and not _runs(job)):
        return
    done, answer = _scontrol("requeue", job)
    if done:
        print(f"queued Slurm job {job} again")
    else:
        print(f"could not queue Slurm job {job} again ({answer}). By hand: scontrol requeue {job}")


def _runs(job: str | None) -> bool:
    """Whether Slurm's state of a job is RUNNING: it is neither cancelled nor requeued."""
    return (
        job is not None
        and "JobState=RUNNING" in _scontrol("show", "job", "--oneliner", job)[1].split()
    )


def _scontrol(*words: str) -> tuple[bool, str]:
    """Calls scontrol; returns whether it succeeded, and its output or error."""
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, (done.stderr if done.returncode else done.stdout).strip()


def in_cluster_job() -> bool:
    """Whether submitit or Slurm started this process, and therefore handles its end."""
    return SUBMITIT in os.environ or _slurm_job() is not None


def _slurm_job() -> str | None:
    """The id of this process's Slurm job in scontrol's format, or ``None``."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")
