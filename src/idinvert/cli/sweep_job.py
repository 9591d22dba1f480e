"""Runs one job of a sweep, in whatever process a launcher uses, and writes its status."""

import dataclasses
import math
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idinvert.cli import job_status
from idinvert.cli.devices import prepare_process
from idinvert.cli.exit_handling import explained
from idinvert.cli.experiments import CHOSEN, chosen_by_experiment, chosen_row
from idinvert.cli.job_status import JobStatus, read_jobs, with_traceback, write_job
from idinvert.config.compose import compose_plain, given_keys, without_hydra
from idinvert.config.run_folder import is_first_process
from idinvert.errors import (
    ConfigError,
    DivergenceError,
    IdinvertError,
    RunLockedError,
    as_typed,
    nearest,
)
from idinvert.results.record import now
from idinvert.tracking.run_files import last_values, read_facts
from idinvert.training.callbacks.checkpoint import latest_checkpoint

PAUSE = 2.0
"""Seconds between two attempts to lock a folder that another evaluation uses."""
VALIDATION = "val/"


class UnknownMetricError(ConfigError):
    """``optimized_metric`` is not a metric of this training, nor of any job of the sweep."""


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """The function that Hydra calls for each job, possibly in a launcher's process.

    An error becomes a line in the sweep's table, so that the other jobs continue. An optimising
    sweeper receives ``None``, a failed trial.

    Attributes:
        program: ``"train"`` or ``"evaluate"``.
        work: The program's function of a configuration.
        sweep: The sweep's folder.
        search: Whether an optimising sweeper draws the jobs. It draws the same ones if the command
            is given again; finished trials then return their value without work.
        argv0: The program as called by the user; a launcher's process has another.
        home: Id of the process that the user started.
    """

    program: str
    work: Callable[..., Any]
    sweep: Path
    search: bool
    argv0: str
    home: int = dataclasses.field(default_factory=os.getpid)

    def __call__(self, config: DictConfig) -> float | None:
        """Runs the job.

        Args:
            config: The configuration composed by Hydra.

        Returns:
            The value of ``optimized_metric``; ``None`` if it is not set or the job failed.
        """
        prepare_process()
        began, argv, task = time.monotonic(), sys.argv, HydraConfig.get()
        given = without_hydra(task.overrides.task)
        status, value = JobStatus(number=int(task.job.num), words=given), None
        at_home = os.getpid() == self.home
        try:
            words = chosen_row(self.program, given)
            status.words = [word for word in words if word != CHOSEN]
            if (before := self._ended_before(status)) is not None:
                status = before
                return status.value if status.good else None
            if words is given:  # composed by Hydra, and checked before the sweep began
                plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            else:
                plain = compose_plain(self.program, words)
            value = self._run(status, words, plain)
        except (KeyboardInterrupt, SystemExit):
            status.state = job_status.INTERRUPTED
            if at_home:
                raise KeyboardInterrupt from None  # Lightning converts it to SystemExit
            raise  # from submitit, which requeues the job
        except Exception as error:
            self._explain(status, error)
            if isinstance(error, UnknownMetricError) and at_home:
                raise SystemExit(2) from error  # no other trial has it either
        finally:
            sys.argv = argv
            status.seconds = status.seconds or round(time.monotonic() - began, 1)
            self._store(status)
        if status.state == job_status.INTERRUPTED and at_home:
            raise KeyboardInterrupt  # training has saved and returned; the sweep ends as well
        return value

    def _ended_before(self, status: JobStatus) -> JobStatus | None:
        """The status of this trial from an earlier call of the same search, if it ended."""
        before = read_jobs(self.sweep).get(status.number) if self.search else None
        ended = (*job_status.GOOD, job_status.FAILED, job_status.DIVERGED)
        if before is None or before.words != status.words or before.state not in ended:
            return None
        if before.state == job_status.RAN:
            before.state = job_status.DONE
        return before

    def _run(self, status: JobStatus, words: list[str], config: dict[str, Any]) -> float | None:
        """Runs the work and sets the status; returns the value that a search optimises."""
        since, moment = self._store(status), now()
        # The command in the job's records and weights, which its other ranks run too.
        row = [word for word in words if not word.startswith("row=")]
        sys.argv = [self.argv0, *row]
        if len(row) < len(words) and is_first_process():
            print(as_typed(f"python {self.program}.py {shlex.join(row)}"), flush=True)
        result = self._work(config, given_keys([*words, *chosen_by_experiment(words)]))
        optimized = config.get("optimized_metric")
        if isinstance(result, Path):
            newest = latest_checkpoint(result / "checkpoints")
            done = newest is not None and newest.stat().st_mtime < since
            status.folder, facts = str(result), read_facts(result)
            if facts.get("state") == "diverged":
                status.state, status.detail = job_status.DIVERGED, f"{result} diverged before"
                return None
            if facts.get("state") == "stopped":
                signalled = "stopped_by" in facts
                status.state = job_status.INTERRUPTED if signalled else job_status.STOPPED
            metric = metric_of_run(result, optimized=optimized)
        else:
            done = bool(result) and all(record.created < moment for record in result)
            metric = next(iter(result[-1].metrics.items()), None) if result else None
        status.metric, status.value = metric or (None, None)
        if status.state == job_status.RUNNING:
            status.state = job_status.DONE if done else job_status.RAN
        return status.value if optimized and status.good else None

    def _work(self, config: dict[str, Any], given: dict[str, list[str]]) -> Any:
        """Runs the work; an evaluation waits while another one holds the lock of the same run."""
        waiting = False
        while True:
            try:
                return self.work(config, given=given)
            except RunLockedError as error:
                if self.program == "train" or error.folder is None:
                    raise
                if not waiting:
                    print(f"waiting: {error.folder} is in use by another evaluation", flush=True)
                waiting = True
                time.sleep(PAUSE)

    def _explain(self, status: JobStatus, error: Exception) -> None:
        """Sets the status for an error, in one line; writes the traceback of an unexpected one."""
        error = explained(error, program=self.program) or error
        status.detail = " ".join(str(error).split())
        status.state = job_status.FAILED
        if isinstance(error, RunLockedError):
            status.state = job_status.BUSY
            status.folder = str(error.folder) if error.folder else None
            return
        if isinstance(error, IdinvertError):
            if isinstance(error, DivergenceError):
                status.state = job_status.DIVERGED
            print(f"error: {error}", file=sys.stderr, flush=True)
            return
        path = job_status.job_path(self.sweep, status.number).with_suffix(".traceback.txt")
        status.detail, status.traceback = with_traceback(error, path), str(path)
        print(f"error: {status.detail} ({path})", file=sys.stderr, flush=True)

    def _store(self, status: JobStatus) -> float:
        """Writes the status; returns the file system's time, which may differ from the clock's."""
        return write_job(self.sweep, status).stat().st_mtime if is_first_process() else 0.0


def metric_of_run(folder: Path, *, optimized: str | None) -> tuple[str, float] | None:
    """Name and last value of a validation metric of a run.

    Args:
        folder: The run's folder, with its ``metrics.jsonl``.
        optimized: ``optimized_metric``; ``None`` for the first metric that was logged.

    Returns:
        ``None`` if `optimized` is ``None`` and nothing was validated.

    Raises:
        UnknownMetricError: No such metric; names those that exist.
        ConfigError: The value is not finite.
    """
    values = last_values(folder / "metrics.jsonl")
    last = {name: value for name, value in values.items() if name.startswith(VALIDATION)}
    if optimized is None:
        return next(iter(last.items()), None)
    if not last:
        raise UnknownMetricError(
            f"optimized_metric={optimized}: {folder} was never validated, so there is nothing to "
            "optimise. Set logging.validate_every_nimg to at most nimg; a GAN has no validation."
        )
    if optimized not in last:
        hint = nearest(optimized, list(last))
        known = "" if hint.startswith("Known") else f" Known here: {', '.join(sorted(last))}."
        raise UnknownMetricError(f"optimized_metric={optimized}: no such metric. {hint}{known}")
    if not math.isfinite(last[optimized]):
        raise ConfigError(f"{optimized} ended as {last[optimized]} in {folder}.")
    return optimized, last[optimized]
