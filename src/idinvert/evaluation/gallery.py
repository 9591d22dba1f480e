"""Task: the same images under several methods, laid out like the paper's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch.utils.data import Subset

from idinvert.data.domain import Domain
from idinvert.editing.edits import Unit
from idinvert.errors import ConfigError, DataError, IdinvertError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import split_of
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.directions import open_directions
from idinvert.evaluation.gallery_sheets import (
    Moves,
    Section,
    Shown,
    interpolation_sheet,
    manipulation_sheet,
    noise_sheet,
    reconstruction_sheet,
)
from idinvert.evaluation.inversions import invert_images
from idinvert.evaluation.manipulation import check_edits
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.results.record import Record

Show = Literal["reconstruction", "interpolation", "manipulation", "noise"]
SHOWS = ("reconstruction", "interpolation", "manipulation", "noise")
LAYOUTS = ("columns", "rows")


def draw(
    context: EvaluationContext,
    *,
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
    context.entries.check_methods(methods, key="task.methods")
    context.entries.check_methods(sections, key="task.sections")
    out = context.outputs / "figures" / name
    trouble: list[str] = []
    shown: list[Section] = []
    with context.locked(out):
        for section in sections:
            wanted = (directions, names, unit) if show == "manipulation" else None
            shown.append(_section(context, section, methods, images, wanted, trouble))
        if not context.first_process:
            return []
        there = [s for s in shown if any(one.inverted is not None for one in s.methods)]
        if not there:
            raise ConfigError("nothing can be shown: " + "; ".join(dict.fromkeys(trouble)))
        if context.config["run"] is not None:
            shown = there  # the others are of domains that this run does not know
        moves = Moves(steps=edits, unit=unit, layers=layers)
        sheet = _sheet(shown, show=show, layout=layout, steps=steps, moves=moves)
        for path in write_sheet(sheet, out):
            print(f"look at {path}")
        context.results.append((None, out))
    for line in dict.fromkeys(trouble):
        print(f"not shown: {line}")
    return []


def _section(
    context: EvaluationContext,
    section: Mapping[str, Any],
    methods: Sequence[Mapping[str, Any]],
    images: list[int],
    directions: tuple[str | None, list[str] | None, Unit] | None,
    trouble: list[str],
) -> Section:
    """A section's images under every method; what goes wrong is added to ``trouble``."""
    data = context.variant({"words": section.get("words")}).config["data"]
    whole = context.variant(data=data).open_images()
    domain = picked(whole, split=context.split, images=images)
    dataset = split_of(domain, context.split)
    found: list[Shown] = []
    for method in methods:
        label = method["label"]
        try:
            one = context.variant(section, method, data=data, n=None)
            wire.require_resolution(data=domain.resolution, generator=one.generator.resolution)
            one = one.replaced(domain=domain)
            chosen = {}
            if directions is not None:
                path, names, unit = directions
                chosen = open_directions(one, path=path, names=names)
                check_edits(one, chosen, steps=[1], layers=None, unit=unit)
            with one.locked(one.inversions.parent):
                found.append(Shown(label, invert_images(one), chosen))
        except IdinvertError as error:
            trouble.append(f"{' '.join([section['label'], label]).strip()}: {error}")
            found.append(Shown(label, None, {}))
    inputs = [dataset[i]["image"] for i in range(len(images))]
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


def picked(domain: Domain, *, split: str, images: Sequence[int]) -> Domain:
    """A domain whose split is some of its images alone.

    Args:
        domain: the whole.
        split: "test", "val" or "train".
        images: places in the split, in the order wanted.

    Raises:
        ConfigError: no such split, no images, or an image twice.
        DataError: the split has no such image.
    """
    dataset: Any = split_of(domain, split)
    if not images or len(set(images)) < len(images):
        raise ConfigError(f"task.images is {list(images)}: expected one place or more, each once")
    outside = [i for i in images if not 0 <= i < len(dataset)]
    if outside:
        raise DataError(
            f"task.images names image {outside[0]}, but split={split} of {domain.name} has "
            f"{len(dataset)}"
        )
    mark = f"{domain.fingerprint}:{','.join(map(str, images))}"
    few: dict[str, Any] = {split: Subset(dataset, list(images))}
    return replace(domain, fingerprint=mark, **few)
