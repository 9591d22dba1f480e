"""The table a sweep ends with: what ran, what was done before, what failed and why."""

import dataclasses
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from idinvert.cli import outcome as states
from idinvert.cli.outcome import Outcome
from idinvert.tracking.status import read_status

PRINTED_WIDTH = 160
"""Characters of an error on the screen; the files have it whole."""


def gathered(
    found: dict[int, Outcome], jobs: list[list[str]] | None, *, over: bool
) -> list[Outcome]:
    """An outcome for every job, also for those that never began or never came to an end.

    Args:
        found: Number to outcome, of the jobs that have begun.
        jobs: The words of all that were planned; ``None`` where that is not known.
        over: Whether no job can be at work any more.
    """
    missing = [
        Outcome(number=number, words=words, state=states.NOT_STARTED)
        for number, words in enumerate(jobs or [])
        if number not in found
    ]
    begun = [_resolved(outcome, over=over) for outcome in found.values()]
    return sorted([*begun, *missing], key=lambda outcome: outcome.number)


def _resolved(outcome: Outcome, *, over: bool) -> Outcome:
    if outcome.state == states.RUNNING and over:
        detail = outcome.detail or "its process was killed"
        return dataclasses.replace(outcome, state=states.INTERRUPTED, detail=detail)
    finished = outcome.folder and read_status(Path(outcome.folder))["state"] == "finished"
    if outcome.state == states.BUSY and finished:
        # The same run, in another job of this sweep, has come to its end meanwhile.
        return dataclasses.replace(outcome, state=states.DONE, detail="by another job")
    return outcome


def printed(outcomes: list[Outcome], *, best: str | None = None) -> str:
    """The table for the screen, one line a job, without the words that all have in common."""
    common = _common(outcomes)
    rows = [
        (
            str(one.number),
            " ".join(word for word in one.words if word not in common) or "(as above)",
            one.state,
            _shortened(_result(one)),
        )
        for one in outcomes
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines = [f"all: {' '.join(common)}"] if common else []
    for number, words, state, result in rows:
        line = f"{number:>{widths[0]}}  {words:<{widths[1]}}  {state:<{widths[2]}}  {result}"
        lines.append(line.rstrip())
    lines += [best] if best else []
    return "\n".join([*lines, counted(outcomes)])


def counted(outcomes: list[Outcome]) -> str:
    """For example ``5 jobs: 3 ran, 1 done before, 1 failed``."""
    numbers = Counter(one.state for one in outcomes)
    parts = ", ".join(f"{number} {state}" for state, number in numbers.items())
    return f"{len(outcomes)} job{'' if len(outcomes) == 1 else 's'}: {parts or 'none'}"


def write(
    folder: Path, outcomes: list[Outcome], *, command: str, best: str | None = None
) -> list[Path]:
    """Stores the table for people and for programs.

    Args:
        folder: The sweep's.
        outcomes: One a job.
        command: That made the sweep.
        best: What a search found.

    Returns:
        ``table.md`` and ``table.json``.
    """
    content: dict[str, Any] = {
        "command": command,
        "best": best,
        "jobs": [dataclasses.asdict(one) for one in outcomes],
    }
    lines = [f"# {folder.name}", "", f"`{command}`", "", counted(outcomes), ""]
    lines += [best, ""] if best else []
    lines += ["| # | overrides | state | figure or error | folder | seconds |"]
    lines += ["|---:|---|---|---|---|---:|"]
    for one in outcomes:
        cells = [
            str(one.number),
            f"`{' '.join(one.words)}`",
            one.state,
            _result(one),
            one.folder or "",
            f"{one.seconds:.0f}" if one.seconds else "",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    paths = [folder / "table.md", folder / "table.json"]
    for path, text in zip(
        paths, ["\n".join(lines) + "\n", json.dumps(content, indent=1) + "\n"], strict=True
    ):
        partial = path.with_suffix(".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    return paths


def _common(outcomes: list[Outcome]) -> list[str]:
    if len(outcomes) < 2:
        return []
    return [word for word in outcomes[0].words if all(word in one.words for one in outcomes)]


def _result(one: Outcome) -> str:
    figure = f"{one.metric} {one.value:.5g}" if one.value is not None else ""
    trace = f"({one.traceback})" if one.traceback else ""
    return " ".join(part for part in (figure, one.detail, trace) if part)


def _shortened(text: str) -> str:
    if len(text) <= PRINTED_WIDTH:
        return text
    head, _, trace = text.rpartition(" (")
    end = f"… ({trace}" if trace.endswith(".traceback.txt)") else "…"
    return (head if end != "…" else text)[:PRINTED_WIDTH] + end
