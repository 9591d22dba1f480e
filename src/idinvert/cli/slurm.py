"""Queues the job of an interrupted run again: one manager does, and never Lightning.

Decision 10 says who does it when; `training.callbacks.stop` saves before.
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
"""Slurm's controller may be busy for so long."""


def queue_again(stopped_by: str | None) -> None:
    """Has the cluster queue this job again, once a run that a signal stopped has saved.

    Args:
        stopped_by: The signal's name; ``None`` or Ctrl-C's brings nothing back, nor does anything
            outside a cluster's job.

    Raises:
        SystemExit: Of submitit, which ends the process when it has queued the job.
    """
    if stopped_by in (None, "SIGINT"):
        return
    if SUBMITIT in os.environ:
        _through_submitit(stopped_by == "SIGTERM")
    elif _slurm_job() is not None and is_first_process():
        _through_slurm(asked_to_end=stopped_by == "SIGTERM")


@contextmanager
def requeued_on_signal() -> Iterator[None]:
    """Around a command's work: SIGUSR1 queues a Slurm job again also where no training listens.

    Nothing needs saving there: what an evaluation has finished is on disk. submitit has handlers
    of its own for that.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or SUBMITIT in os.environ or _slurm_job() is None:
        yield
        return

    def at_once(number: int, frame: FrameType | None) -> None:
        if is_first_process():
            _through_slurm(asked_to_end=False)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGUSR1, at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _through_submitit(asked_to_end: bool) -> None:
    """Hands the signal on to submitit's handler, which was put aside for saving."""
    if asked_to_end and not _runs(_slurm_job()):
        if os.environ[SUBMITIT] == "slurm":
            raise SystemExit(128 + signal.SIGTERM)  # no result: Slurm says whether it comes back
        return
    own = getattr(signal, "SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2"))
    if callable(signal.getsignal(own)):
        signal.raise_signal(own)


def _through_slurm(*, asked_to_end: bool) -> None:
    job = _slurm_job()
    if job is None or (asked_to_end and not _runs(job)):
        return  # cancelled, or on its way back into the queue already
    done, answer = _scontrol("requeue", job)
    if done:
        print(f"queued Slurm job {job} again")
    else:
        print(f"could not queue Slurm job {job} again ({answer}). By hand: scontrol requeue {job}")


def _runs(job: str | None) -> bool:
    """Whether Slurm still counts a job as running, and so nobody has decided about it yet."""
    return (
        job is not None
        and "JobState=RUNNING" in _scontrol("show", "job", "--oneliner", job)[1].split()
    )


def _scontrol(*words: str) -> tuple[bool, str]:
    """Whether Slurm's controller did it, and its answer or error."""
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, (done.stderr if done.returncode else done.stdout).strip()


def in_cluster_job() -> bool:
    """Whether submitit or Slurm started this process, and so decides what comes after it."""
    return SUBMITIT in os.environ or _slurm_job() is not None


def _slurm_job() -> str | None:
    """This process's Slurm job as scontrol takes it."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")
