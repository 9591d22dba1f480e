"""How each job of a sweep ended: one file a job, since jobs may run in processes of their own."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

JOBS = "jobs"

RAN, DONE, STOPPED = "ran", "done before", "stopped"
GOOD = (RAN, DONE, STOPPED)
"""What needs no second look; what was stopped had a time limit that was asked for."""
RUNNING, INTERRUPTED = "running", "interrupted"
BUSY, FAILED, DIVERGED, NOT_STARTED = "busy elsewhere", "failed", "diverged", "not started"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One line of a sweep's table.

    Attributes:
        number: Of the job in its sweep, from 0.
        words: Its overrides, as one would type them.
        state: One of this module's constants.
        metric: What ``value`` is, for example ``val/mse``.
        value: The figure.
        detail: What went wrong, in one line.
        folder: Of the run, as far as it is known.
        traceback: File of an error that nobody expected.
        seconds: Since the job began.
    """

    number: int
    words: list[str]
    state: str = RUNNING
    metric: str | None = None
    value: float | None = None
    detail: str = ""
    folder: str | None = None
    traceback: str | None = None
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self.state in GOOD


def outcome_path(sweep: Path, number: int) -> Path:
    """The file of one job."""
    return sweep / JOBS / f"{number:04d}.json"


def keep(sweep: Path, outcome: Outcome) -> Path:
    """Stores an outcome, in place of what the same job said before.

    Args:
        sweep: The sweep's folder.
        outcome: Of one job.
    """
    path = outcome_path(sweep, outcome.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(dataclasses.asdict(outcome)) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def kept(sweep: Path) -> dict[int, Outcome]:
    """Number to outcome, of the jobs that have begun."""
    found = [
        Outcome(**json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((sweep / JOBS).glob("*.json"))
    ]
    return {outcome.number: outcome for outcome in found}


def forget(sweep: Path) -> None:
    """Makes room for another call of the same sweep."""
    for path in (sweep / JOBS).glob("*"):
        path.unlink()
