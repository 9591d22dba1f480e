"""``task=gallery``: the same images under several methods, laid out like the paper's figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from idinvert.cli.results import leave
from idinvert.cli.setup import open_setup
from idinvert.cli.tasks.directions import open_directions
from idinvert.cli.tasks.methods import changed, check_methods
from idinvert.cli.tasks.opening import subject_of
from idinvert.config.run_folder import is_first_process, locked
from idinvert.editing.edits import Unit
from idinvert.errors import ConfigError, IdinvertError
from idinvert.evaluation.gallery import (
    Section,
    Shown,
    interpolation_sheet,
    noise_sheet,
    picked,
    reconstruction_sheet,
)
from idinvert.evaluation.gallery_edits import Moves, manipulation_sheet
from idinvert.evaluation.inverted import invert_subject
from idinvert.evaluation.manipulation import check_edits
from idinvert.evaluation.open_data import open_data
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.results.record import Record

Show = Literal["reconstruction", "interpolation", "manipulation", "noise"]
SHOWS = ("reconstruction", "interpolation", "manipulation", "noise")
LAYOUTS = ("columns", "rows")


def draw(
    *,
    config: dict[str, Any],
    name: str,
    show: Show,
    layout: Literal["columns", "rows"],
    methods: list[dict[str, Any]],
    sections: list[dict[str, Any]],
    images: list[int],
    steps: int,
    directions: str | None,
    names: list[str] | None,
    edits: list[float],
    unit: Unit,
    layers: list[int] | None,
) -> list[Record]:
    """Inverts the images by every method and draws the grid; it measures nothing.

    A method that cannot be opened, because its run is missing, leaves its places crossed out and
    is told of. With ``run=RUN`` all is drawn with that run's networks, and only the sections that
    it can show.

    Raises:
        ConfigError: Methods or sections make no sense, or none of them can be shown.
    """
    if show not in SHOWS or layout not in LAYOUTS:
        raise ConfigError(
            f"got task.show={show}, task.layout={layout}: expected one of {', '.join(SHOWS)} and "
            f"{' or '.join(LAYOUTS)}"
        )
    check_methods(methods, key="task.methods")
    check_methods(sections, key="task.sections")
    out = Path(config["system"]["outputs"]) / "figures" / name
    trouble: list[str] = []
    shown: list[Section] = []
    with locked(out):
        for section in sections:
            wanted = (directions, names, unit) if show == "manipulation" else None
            shown.append(_section(config, section, methods, images, wanted, trouble))
        if not is_first_process():
            return []
        there = [s for s in shown if any(one.inverted is not None for one in s.methods)]
        if not there:
            raise ConfigError("nothing can be shown: " + "; ".join(dict.fromkeys(trouble)))
        if config["run"] is not None:
            shown = there  # the others are of domains that this run does not know
        moves = Moves(steps=edits, unit=unit, layers=layers)
        sheet = _sheet(shown, show=show, layout=layout, steps=steps, moves=moves)
        for path in write_sheet(sheet, out):
            print(f"look at {path}")
        leave(out)
    for line in dict.fromkeys(trouble):
        print(f"not shown: {line}")
    return []


def _section(
    config: dict[str, Any],
    section: Mapping[str, Any],
    methods: Sequence[Mapping[str, Any]],
    images: list[int],
    directions: tuple[str | None, list[str] | None, Unit] | None,
    trouble: list[str],
) -> Section:
    """A section's images under every method; what goes wrong is added to ``trouble``."""
    data = changed(config, {key: section.get(key) for key in ("words",)})["data"]
    domain = picked(open_data(data), split=config["split"], images=images)
    dataset = getattr(domain, config["split"])
    found: list[Shown] = []
    for method in methods:
        label = method["label"]
        try:
            setup = open_setup(changed(config, section, method) | {"data": data, "n": None})
            subject = subject_of(setup, domain=domain)
            chosen = {}
            if directions is not None:
                path, names, unit = directions
                chosen = open_directions(setup, path=path, names=names)
                check_edits(subject, chosen, steps=[1], layers=None, unit=unit)
            with locked(subject.inversions.parent):
                found.append(Shown(label, invert_subject(subject), chosen))
        except IdinvertError as error:
            trouble.append(f"{' '.join([section['label'], label]).strip()}: {error}")
            found.append(Shown(label, None, {}))
    inputs = [dataset[i]["image"] for i in range(len(dataset))]
    return Section(section["label"], inputs, found)


def _sheet(
    sections: list[Section],
    *,
    show: str,
    layout: str,
    steps: int,
    moves: Moves,
) -> Sheet:
    across = layout == "columns"
    if show == "interpolation":
        return interpolation_sheet(sections, steps=steps)
    if show == "manipulation":
        return manipulation_sheet(sections, moves=moves, across=across)
    if show == "noise":
        return noise_sheet(sections)
    return reconstruction_sheet(sections, across=across)
