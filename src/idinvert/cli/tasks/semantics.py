"""``task=semantics``: precision–recall of attributes from inverted codes (Sec. 4.2, Fig. 3)."""

from typing import Any, Literal

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.directions import open_directions
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.evaluation.semantics import semantics
from idinvert.results.record import Record


def classify(
    *,
    config: dict[str, Any],
    directions: str | None,
    found_for: str | None,
    names: list[str] | None,
    truth: Literal["auto", "labels", "network"],
) -> list[Record]:
    """Classifies attributes by the side of their boundary on which inverted codes lie."""
    setup = open_setup(config)
    subject = subject_of(setup)
    chosen = open_directions(setup, path=directions, names=names, found_for=found_for)
    marks = {name: direction.content for name, direction in chosen.items()}
    with task_folder(setup, subject, "semantics", truth=truth, directions=marks) as out:
        return finished(semantics(subject, directions=chosen, out=out, truth=truth), out)
