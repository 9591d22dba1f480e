"""``task=manipulation``: inverted images moved along directions (Eq. 5, Table 2, Fig. 5)."""

from typing import Any

from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.directions import open_directions
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.editing.edits import Unit
from idinvert.evaluation.manipulation import manipulation
from idinvert.results.record import Record


def manipulate(
    *,
    config: dict[str, Any],
    directions: str | None,
    found_for: str | None,
    names: list[str] | None,
    steps: list[float],
    layers: list[int] | None,
    unit: Unit,
    shown: int,
) -> list[Record]:
    """Moves inverted images along directions and measures them as a set."""
    setup = open_setup(config)
    subject = subject_of(setup)
    chosen = open_directions(setup, path=directions, names=names, found_for=found_for)
    marks = {name: direction.content for name, direction in chosen.items()}
    options = {"steps": steps, "layers": layers, "unit": unit, "directions": marks}
    with task_folder(setup, subject, "manipulation", **options) as out:
        record = manipulation(
            subject,
            directions=chosen,
            out=out,
            steps=steps,
            layers=layers,
            unit=unit,
            shown=shown,
            recompute=config["recompute"],
        )
        return finished(record, out)
