"""The status of each job of a sweep: one file per job, since jobs may run in other processes.

At its end, a sweep shows them as a table and writes ``table.md`` and ``table.json``.
"""

import dataclasses
import json
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from idinvert import durable
from idinvert.tracking.run_files import read_status
from idinvert.untrusted import read_json

JOBS = "jobs"
RAN, DONE, STOPPED = "ran", "done before", "stopped"
GOOD = (RAN, DONE, STOPPED)
"""States without a problem; a job that is "stopped" reached the time limit that was set."""
RUNNING, INTERRUPTED = "running", "interrupted"
BUSY, FAILED, DIVERGED, NOT_STARTED = "busy elsewhere", "failed", "diverged", "not started"
PRINTED_WIDTH = 160
"""Maximum characters of an error on the screen; the files contain the full text."""


@dataclass(kw_only=True)
class JobStatus:
    """One line of a sweep's table.

    Attributes:
        number: Number of the job in its sweep, from 0.
        words: Its overrides, as typed.
        state: One of this module's constants.
        metric: Name of the metric, for example ``val/mse``.
        value: Value of the metric.
        detail: The error, in one line.
        folder: Folder of the run, if known.
        traceback: File with the traceback of an unexpected error.
        seconds: Duration of the job.
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
        """Whether the job needs no further work."""
        return self.state in GOOD

    @property
    def result(self) -> str:
        """The metric and the error, if there are any."""
        value = f"{self.metric} {self.value:.5g}" if self.value is not None else ""
        trace = f"({self.traceback})" if self.traceback else ""
        return " ".join(part for part in (value, self.detail, trace) if part)


def job_path(sweep: Path, number: int) -> Path:
    """The file of one job in a sweep's folder."""
    return sweep / JOBS / f"{number:04d}.json"


def write_job(sweep: Path, status: JobStatus) -> Path:
    """Writes a job's status over the previous one; returns the path of its file."""
    path = job_path(sweep, status.number)
    durable.write(path, json.dumps(dataclasses.asdict(status)) + "\n")
    return path


def read_jobs(sweep: Path) -> dict[int, JobStatus]:
    """Reads the status of each job that has started, by number."""
    paths = sorted((sweep / JOBS).glob("*.json"))
    found = [JobStatus(**read_json(path)) for path in paths]
    return {status.number: status for status in found}


def with_traceback(error: Exception, path: Path) -> str:
    """Writes the traceback of an unexpected error; returns the error in one line."""
    durable.write(path, "".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def every_job(sweep: Path, jobs: list[list[str]] | None, *, over: bool) -> list[JobStatus]:
    """A status for every job, including jobs that never started or never ended.

    Args:
        sweep: The sweep's folder.
        jobs: The overrides of all planned jobs; ``None`` if a search draws them.
        over: Whether no job can still be running.
    """
    found = read_jobs(sweep)
    for status in found.values():
        finished = status.folder and read_status(Path(status.folder))["state"] == "finished"
        if status.state == RUNNING and over:
            status.state = INTERRUPTED
            status.detail = status.detail or "its process was killed"
        elif status.state == BUSY and finished:
            # The same run has meanwhile finished, in another job of this sweep.
            status.state, status.detail = DONE, "by another job"
    for number, words in enumerate(jobs or []):
        if number not in found:
            found[number] = JobStatus(number=number, words=words, state=NOT_STARTED)
    return [found[number] for number in sorted(found)]


def best_trial(jobs: list[JobStatus], *, direction: str) -> str:
    """One line with the best trial so far; ``direction`` is minimize or maximize."""
    done = [status for status in jobs if status.good and status.value is not None]
    if not done:
        return f"no best trial: none of {len(jobs)} came to a value"
    sign = -1 if direction == "maximize" else 1
    best = min(done, key=lambda status: sign * (status.value or 0.0))
    words = " ".join(word for word in best.words if word not in _common(jobs))
    return f"best of {len(jobs)} trials: {best.value:.5g} with {words}"


def counted(jobs: list[JobStatus]) -> str:
    """Counts jobs by state, for example ``5 jobs: 3 ran, 1 done before, 1 failed``."""
    numbers = Counter(status.state for status in jobs)
    parts = ", ".join(f"{number} {state}" for state, number in numbers.items())
    return f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}: {parts or 'none'}"


def printed(jobs: list[JobStatus], *, best: str | None = None) -> str:
    """The table for the screen, one row per job; overrides common to all are in its heading."""
    common = _common(jobs)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("job", justify="right", no_wrap=True)
    for name in ("overrides", "state", "value or error"):
        table.add_column(name, overflow="fold")
    for status in jobs:
        words = " ".join(word for word in status.words if word not in common)
        row = (str(status.number), words or "(as above)", status.state, _shortened(status))
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    with console.capture() as drawn:
        console.print(table)
    rows = [line.rstrip() for line in drawn.get().splitlines()]
    heading = [f"all: {' '.join(common)}"] if common else []
    return "\n".join([*heading, *rows, *([best] if best else []), counted(jobs)])


def write_table(
    sweep: Path, jobs: list[JobStatus], *, command: str, best: str | None = None
) -> Path:
    """Writes the table as ``table.md`` and ``table.json``; returns the path of the former."""
    lines = [f"# {sweep.name}", "", f"`{command}`", "", counted(jobs), ""]
    lines += [best, ""] if best else []
    lines += ["| # | overrides | state | value or error | folder | seconds |"]
    lines += ["|---:|---|---|---|---|---:|"]
    for status in jobs:
        seconds = f"{status.seconds:.0f}" if status.seconds else ""
        cells = [str(status.number), f"`{' '.join(status.words)}`", status.state, status.result]
        cells += [status.folder or "", seconds]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    durable.write(sweep / "table.md", "\n".join(lines) + "\n")
    content = {"command": command, "best": best, "jobs": [dataclasses.asdict(one) for one in jobs]}
    durable.write(sweep / "table.json", json.dumps(content, indent=1) + "\n")
    return sweep / "table.md"


def _common(jobs: list[JobStatus]) -> list[str]:
    if len(jobs) < 2:
        return []
    return [word for word in jobs[0].words if all(word in status.words for status in jobs)]


def _shortened(status: JobStatus) -> str:
    if len(status.result) <= PRINTED_WIDTH:
        return status.result
    trace = f" ({status.traceback})" if status.traceback else ""
    return status.result.removesuffix(trace)[:PRINTED_WIDTH] + "…" + trace
