"""Why there is no figure in a place, and the commands that would put one there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idinvert.results.record import Record
from idinvert.results.select import Default, Within, matching, nearest

OF_AN_EVALUATION = ("task", "n", "data.split", "choices.inversion", "choices.task")
"""Clauses that an evaluation meets or not, whatever the run."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """An evaluation that a table or figure asks for.

    Attributes:
        label: of the place, for people.
        where: all clauses that its record must meet.
        evaluate: the command, with `RUN` for the run.
    """

    label: str
    where: Mapping[str, Any]
    evaluate: str


@dataclass(frozen=True, kw_only=True)
class Lack:
    """Why a place is empty.

    Attributes:
        reason: in words.
        commands: that would fill it, in order.
        record: of the run that only has to be evaluated; None where one must be trained first.
    """

    reason: str
    commands: tuple[str, ...]
    record: Record | None = None


def run_clauses(where: Mapping[str, Any]) -> dict[str, Any]:
    """The clauses that a run meets or not, however it is evaluated.

    What else was chosen is no matter: a method without an encoder takes any run of its generator.
    """
    return {
        path: value
        for path, value in where.items()
        if not of_an_evaluation(path) and not isinstance(value, Within)
    }


def of_an_evaluation(path: str) -> bool:
    """Whether an evaluation decides what stands at a path."""
    return any(path == one or path.startswith(f"{one}.") for one in OF_AN_EVALUATION)


def why_empty(
    records: Sequence[Record],
    where: Mapping[str, Any],
    *,
    wanted: str,
    train: str,
    evaluate: str,
) -> Lack:
    """Say what is missing for a figure.

    Args:
        records: none of which gives the figure.
        where: the clauses of its place.
        wanted: the metric or curve that a record that meets them lacks.
        train: command that makes the run.
        evaluate: command that makes the record, with `RUN` for the run.
    """
    others = matching(records, where)
    # Records of methods without an encoder are of the generator's run, which is not evaluated.
    runs = [r for r in matching(records, run_clauses(where)) if "encoder" in r.choices]
    if not others and not runs:
        return Lack(reason=_why_none(where, records), commands=_given(train, evaluate))
    if others:  # the run is there; it lacks this metric, or the evaluation
        reason = f"run {others[0].run} was evaluated without {wanted}"
    else:
        asked = {path: wanted for path, wanted in where.items() if of_an_evaluation(path)}
        words = [f"{path} {v}" for path, v in asked.items() if not isinstance(v, Default | Within)]
        reason = f"no record of run {runs[0].run} with {', '.join(words)}"
    command = evaluate.replace("RUN", runs[0].run) if runs else evaluate
    return Lack(reason=reason, commands=_given(command), record=(others or runs)[0])


def _given(*commands: str) -> tuple[str, ...]:
    return tuple(command for command in commands if command)


def _why_none(where: Mapping[str, Any], records: Sequence[Record]) -> str:
    closest = nearest(records, where)
    if closest is None:
        return "there are no records"
    record, failed = closest
    if len(failed) > 3:
        return "no record comes near"
    return f"no record; the closest is of run {record.run}, but {'; '.join(failed)}"
