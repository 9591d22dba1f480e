"""One job of a sweep, in whatever process a launcher runs it: checks, works, says how it ended."""

import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idinvert.cli import outcome as states
from idinvert.cli.figures import (
    Figure,
    UnknownMetricError,
    figure_of_records,
    figure_of_run,
    was_there,
)
from idinvert.cli.memory import out_of_memory
from idinvert.cli.outcome import Outcome, keep
from idinvert.cli.process import prepare_process
from idinvert.cli.sweeps import CHOSEN, chosen_by_experiment, chosen_row, given_keys
from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import check_signatures
from idinvert.config.run_folder import is_first_process
from idinvert.errors import DivergenceError, IdinvertError, RunLockedError
from idinvert.results.record import now
from idinvert.tracking.status import read_status

PAUSE = 2.0
"""Seconds between two looks at a folder that another evaluation works in."""


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """What Hydra calls for each job; it travels to other processes, and never raises there.

    An error is a line in the sweep's table, so that the other jobs go on; an optimising sweeper
    gets ``None`` for it, which is a failed trial.

    Attributes:
        program: ``"train"`` or ``"evaluate"``.
        work: What the program does with a configuration.
        sweep: The sweep's folder.
        argv0: The program as it was called; a launcher's process has another.
        home: Id of the process that the user started.
    """

    program: str
    work: Callable[..., Any]
    sweep: Path
    argv0: str
    home: int = dataclasses.field(default_factory=os.getpid)

    def __call__(self, config: DictConfig) -> float | None:
        """Runs the job.

        Args:
            config: As Hydra composed it.

        Returns:
            The figure of ``optimized_metric``; ``None`` where there is none or the job failed.
        """
        prepare_process()
        began, argv = time.monotonic(), sys.argv
        task = HydraConfig.get()
        given = list(task.overrides.task)
        outcome = Outcome(number=int(task.job.num), words=shown(given))
        since = self._keep(outcome)
        try:
            words = chosen_row(self.program, given)
            outcome = dataclasses.replace(outcome, words=shown(words))
            # What this job's records and weights say made them, and what its ranks are given.
            sys.argv = [self.argv0, *(word for word in words if not word.startswith("row="))]
            if words is given:
                plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
                check_signatures(plain)
            else:
                plain = compose_plain(self.program, words)
                if is_first_process():
                    print(f"python {self.program}.py {' '.join(sys.argv[1:])}", flush=True)
            self._keep(outcome)
            moment = now()
            keys = given_keys([*words, *chosen_by_experiment(words)])
            result = self._result(plain, keys)
            outcome, figure = ended(
                outcome, result, plain, since=since, moment=moment, took=time.monotonic() - began
            )
        except (KeyboardInterrupt, SystemExit):
            self._end(dataclasses.replace(outcome, state=states.INTERRUPTED), began)
            if os.getpid() == self.home:
                raise KeyboardInterrupt from None  # Lightning makes it an exit
            raise  # of submitit, which queues the job again
        except Exception as error:
            self._end(self._failed(outcome, error), began)
            if isinstance(error, UnknownMetricError) and os.getpid() == self.home:
                raise SystemExit(2) from error  # no other trial has it either
            return None
        finally:
            sys.argv = argv
        self._end(outcome, began)
        if outcome.state == states.INTERRUPTED and os.getpid() == self.home:
            raise KeyboardInterrupt  # training has saved and returned; the sweep ends as well
        return figure.value if figure and outcome.good and plain.get("optimized_metric") else None

    def _result(self, plain: dict[str, Any], keys: dict[str, list[str]]) -> Any:
        """The work's; an evaluation waits while another one inverts for the same run."""
        waiting = False
        while True:
            try:
                return self.work(plain, given=keys)
            except RunLockedError as error:
                if self.program == "train" or error.folder is None:
                    raise
                if not waiting:
                    print(f"waiting: {error.folder} is in use by another evaluation", flush=True)
                waiting = True
                time.sleep(PAUSE)

    def _failed(self, outcome: Outcome, error: Exception) -> Outcome:
        if isinstance(error, torch.OutOfMemoryError):
            error = out_of_memory(error, program=self.program)
        if isinstance(error, RunLockedError):
            folder = str(error.folder) if error.folder else None
            return dataclasses.replace(
                outcome, state=states.BUSY, detail=one_line(error), folder=folder
            )
        if isinstance(error, IdinvertError):
            print(f"error: {error}", file=sys.stderr, flush=True)
            state = states.DIVERGED if isinstance(error, DivergenceError) else states.FAILED
            return dataclasses.replace(outcome, state=state, detail=one_line(error))
        path = states.outcome_path(self.sweep, outcome.number).with_suffix(".traceback.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        detail = f"{type(error).__name__}: {one_line(error)}"
        print(f"error: {detail} ({path})", file=sys.stderr, flush=True)
        return dataclasses.replace(outcome, state=states.FAILED, detail=detail, traceback=str(path))

    def _end(self, outcome: Outcome, began: float) -> None:
        self._keep(dataclasses.replace(outcome, seconds=round(time.monotonic() - began, 1)))

    def _keep(self, outcome: Outcome) -> float:
        """Stores the outcome; returns the file system's time, which may not be this machine's."""
        if not is_first_process():
            return 0.0
        return keep(self.sweep, outcome).stat().st_mtime


def ended(
    outcome: Outcome,
    result: Any,
    plain: dict[str, Any],
    *,
    since: float,
    moment: str,
    took: float,
) -> tuple[Outcome, Figure | None]:
    """How a job ended that raised nothing, and its figure.

    Args:
        outcome: As it stands.
        result: A run's folder, or records.
        plain: The job's configuration.
        since: When it began, as the file system tells the time.
        moment: The same in records' words.
        took: Seconds that it took.
    """
    state = states.DONE if was_there(result, since=since, moment=moment) else states.RAN
    if not isinstance(result, Path):
        figure = figure_of_records(result or [])
    else:
        outcome = dataclasses.replace(outcome, folder=str(result))
        stands = read_status(result)["state"]
        if stands == "diverged":
            detail = f"{result} diverged before"
            return dataclasses.replace(outcome, state=states.DIVERGED, detail=detail), None
        if stands == "stopped":
            limit = plain.get("max_seconds")
            asked = limit is not None and took >= limit
            state = states.STOPPED if asked else states.INTERRUPTED
        figure = figure_of_run(result, optimized=plain.get("optimized_metric"))
    if figure is not None:
        outcome = dataclasses.replace(outcome, metric=figure.metric, value=figure.value)
    return dataclasses.replace(outcome, state=state), figure


def shown(words: Sequence[str]) -> list[str]:
    """A job's words without Hydra's own, and without the one that says they are a row."""
    kept = (word for word in words if word != CHOSEN)
    return [word for word in kept if not word.lstrip("+~").startswith("hydra")]


def one_line(error: Exception) -> str:
    """An error's message with its line breaks taken out."""
    return " ".join(str(error).split())
