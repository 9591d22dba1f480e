"""Task: figures of the same images under several methods, laid out as in the paper."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Subset

from idinvert.annotations import Count, Name, PathString, PositiveInt, Unit
from idinvert.data.domain import Domain, prepare
from idinvert.editing.directions import Direction
from idinvert.editing.edits import inner_steps
from idinvert.errors import ConfigError, DataError, IdinvertError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import split_of
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.directions import open_directions
from idinvert.evaluation.interpolation import headers_of, path_between
from idinvert.evaluation.inversions import Inversions, invert_images, require_codes
from idinvert.evaluation.manipulation import Moves
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.results.record import Record

SHOWS = ("reconstruction", "interpolation", "manipulation", "noise")
LAYOUTS = ("columns", "rows")
Cells = list[Tensor | None]
"""Images uint8 or float [3, R, R]; None is crossed out."""


@dataclass(frozen=True)
class Shown:
    """The results of one method for a section's images.

    Attributes:
        label: the method's name in the figure.
        inverted: its inversions; None if there are none: its cells are crossed out.
        directions: for edits, by name.
    """

    label: str
    inverted: Inversions | None
    directions: Mapping[str, Direction]


@dataclass(frozen=True)
class Section:
    """Images of one domain and their results under every method.

    Attributes:
        label: the domain's name in the figure; may be empty.
        inputs: uint8 [3, R, R].
        methods: in the order of the figure.
    """

    label: str
    inputs: list[Tensor]
    methods: list[Shown]

    @property
    def names(self) -> list[str]:
        """Its directions, as headers."""
        known = [shown.directions for shown in self.methods if shown.inverted is not None]
        return [name.replace("_", " ") for name in known[0]] if known else []


def draw(
    context: EvaluationContext,
    *,
    name: Name,
    show: Literal["reconstruction", "interpolation", "manipulation", "noise"],
    layout: Literal["columns", "rows"],
    methods: list[dict[str, Any]],
    sections: list[dict[str, Any]],
    images: list[Count],
    steps: PositiveInt,
    directions: PathString | None,
    names: list[Name] | None,
    edits: list[float],
    unit: Unit,
    layers: list[Count] | None,
) -> list[Record]:
    """Inverts the images with every method and draws the grid; it measures nothing.

    If a method cannot be opened, for example because its run is missing, its cells are crossed out
    and the reason is printed. With ``run=RUN``, or ``encoder.path=FILE``, everything is drawn with
    these networks, and only the sections that they match.

    Raises:
        ConfigError: Methods or sections are invalid, or none of them can be shown.
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
    chosen = context.config["run"] or context.entries.typed_encoder(context.config)
    if chosen:  # a section's other clauses would choose networks
        sections = [{**section, "where": _of_data(section)} for section in sections]
    with context.locked(out):
        for section in sections:
            wanted = (directions, names, unit) if show == "manipulation" else None
            shown.append(_section(context, section, methods, images, show, wanted, trouble))
        if not context.first_process:
            return []
        there = [s for s in shown if any(one.inverted is not None for one in s.methods)]
        if not there:
            raise ConfigError("nothing can be shown: " + "; ".join(dict.fromkeys(trouble)))
        if chosen:
            shown = there  # the others have domains that do not match these networks
        across = layout == "columns"
        if show == "interpolation":
            sheet = interpolation_sheet(shown, steps=steps)
        elif show == "manipulation":
            moves = Moves(edits, layers, unit)
            sheet = manipulation_sheet(shown, moves=moves, across=across)
        elif show == "noise":
            sheet = noise_sheet(shown)
        else:
            sheet = reconstruction_sheet(shown, across=across)
        for path in write_sheet(sheet, out):
            print(f"look at {path}")
        context.results.append((None, out))
    for line in dict.fromkeys(trouble):
        print(f"not shown: {line}")
    return []


def _of_data(section: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a section's clauses on its data."""
    return {k: v for k, v in (section.get("where") or {}).items() if k.startswith("data.")}


def _section(
    context: EvaluationContext,
    section: Mapping[str, Any],
    methods: Sequence[Mapping[str, Any]],
    images: list[int],
    show: str,
    directions: tuple[str | None, list[str] | None, Unit] | None,
    trouble: list[str],
) -> Section:
    """Inverts a section's images with every method; errors are added to ``trouble``."""
    data = _data(context, section, methods)
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
            if show in ("interpolation", "manipulation"):
                require_codes(one, task="gallery")
            if directions is not None:
                path, names, unit = directions
                chosen = open_directions(one, path=path, names=names)
                Moves([1], unit=unit).check(one, chosen)
            with one.locked(one.inversions.parent):
                found.append(Shown(label, invert_images(one), chosen))
        except IdinvertError as error:
            trouble.append(f"{' '.join([section['label'], label]).strip()}: {error}")
            found.append(Shown(label, None, {}))
    inputs = [dataset[i]["image"] for i in range(len(images))]
    return Section(section["label"], inputs, found)


def _data(
    context: EvaluationContext, section: Mapping[str, Any], methods: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns a section's data, at the resolution of the first generator that can be opened."""
    data: dict[str, Any] = context.variant({"words": section.get("words")}).config["data"]
    for method in methods if "resolution" in data else ():
        with contextlib.suppress(IdinvertError):
            return data | {"resolution": context.variant(section, method).generator.resolution}
    return data


def picked(domain: Domain, *, split: str, images: Sequence[int]) -> Domain:
    """Returns a domain whose split has only the images at these indices, in this order.

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
    prepare(dataset, images)  # otherwise reading the first one renders the whole split
    few: dict[str, Any] = {split: Subset(dataset, list(images))}
    return replace(domain, fingerprint=mark, **few)


def _sheet(
    sections: Sequence[Section],
    blocks: Sequence[list[Cells]],
    *,
    labels: Sequence[str] = (),
    headers: Sequence[tuple[str, int]] = (),
) -> Sheet:
    """Joins one block of rows per section; blocks are labelled if there are several."""
    groups = [(section.label, len(block)) for section, block in zip(sections, blocks, strict=True)]
    named = len(groups) > 1 or any(label for label, _ in groups)
    rows = [row for block in blocks for row in block]
    return Sheet(
        rows=rows, labels=labels, headers=headers, groups=groups if named else (), crossed=True
    )


def reconstruction_sheet(sections: Sequence[Section], *, across: bool) -> Sheet:
    """Lays out inputs and reconstructions.

    Args:
        sections: one per domain.
        across: True for a column per method and a row per image (Figs. 2, 8, 15); False for a row
            per method and a column per image (Figs. 9, 17, 18).
    """
    blocks: list[list[Cells]] = []
    for section in sections:
        rows: list[Cells] = [[*section.inputs], *map(_rebuilt, section.methods)]
        some = [row or [None] * len(section.inputs) for row in rows]
        blocks.append([list(row) for row in zip(*some, strict=True)] if across else some)
    labels = ["Input", *(shown.label for shown in sections[0].methods)]
    if across:
        return _sheet(sections, blocks, headers=[(label, 1) for label in labels])
    return _sheet(sections, blocks, labels=labels * len(sections))


def interpolation_sheet(sections: Sequence[Section], *, steps: int) -> Sheet:
    """Lays out interpolations of images 0 and 1, 2 and 3, …: a row per method (Figs. 4, 19).

    Raises:
        ConfigError: an odd number of images, or fewer than one step.
    """
    blocks: list[list[Cells]] = []
    labels: list[str] = []
    for section in sections:
        inputs = section.inputs
        if len(inputs) % 2 or steps < 1:
            raise ConfigError(
                f"interpolation takes pairs and steps: got {len(inputs)} images (task.images) and "
                f"task.steps={steps}"
            )
        blocks.append([])
        for a in range(0, len(inputs), 2):
            for shown in section.methods:
                inside: Cells = [None] * (steps + 2)
                if shown.inverted is not None:
                    inside = [*path_between(shown.inverted, a, a + 1, inner_steps(steps))]
                blocks[-1].append([inputs[a], *inside, inputs[a + 1]])
                labels.append(shown.label)
    return _sheet(sections, blocks, labels=labels, headers=headers_of(steps))


def noise_sheet(sections: Sequence[Section]) -> Sheet:
    """Lays out inputs, reconstructions and the finest noise map of a noise encoder (Fig. 13).

    Raises:
        ConfigError: a method has no noise maps.
    """
    blocks: list[list[Cells]] = []
    labels: list[str] = []
    for section in sections:
        blocks.append([[*section.inputs]])
        labels.append("Input")
        for shown in section.methods:
            empty: Cells = [None] * len(section.inputs)
            blocks[-1] += [_rebuilt(shown) or empty, _noise(shown) or empty]
            labels += [shown.label, "Finest noise"]
    return _sheet(sections, blocks, labels=labels)


def _rebuilt(shown: Shown) -> Cells:
    found = shown.inverted
    return [] if found is None else [*found.images(torch.arange(len(found)))]


def _noise(shown: Shown) -> Cells:
    if shown.inverted is None:
        return []
    maps = shown.inverted.noise(torch.arange(len(shown.inverted)))
    if maps is None:
        raise ConfigError(
            f"{shown.label}: its encoder gives no noise maps; task.show=noise takes an encoder "
            "trained with encoder=noise"
        )
    finest = maps[-1].float()  # [n, 1, R, R]
    scale = finest.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-6)
    return [*(finest / scale).expand(-1, 3, -1, -1)]


def manipulation_sheet(sections: Sequence[Section], *, moves: Moves, across: bool) -> Sheet:
    """Lays out inputs, inversions and edits.

    Args:
        sections: one per domain; all methods of a section edit along directions of the same names.
        moves: how the directions are applied.
        across: False for a row per image and method (Figs. 5, 20); True for columns grouped by
            method, with inputs, inversions and edits below each other (Fig. 11).

    Raises:
        ConfigError: sections with different numbers of edits, no steps, or a unit that a direction
            does not support.
    """
    if not moves.steps:
        raise ConfigError("task.edits is empty: expected one step or more")
    names = [section.names for section in sections]
    if len({len(found) for found in names}) > 1:
        raise ConfigError(f"sections with different numbers of directions: {names}; set task.names")
    length = 1 + len(names[0]) * len(moves.steps)

    def strip(section: Section, shown: Shown, image: int) -> Cells:
        found, inside = shown.inverted, [None] * length
        made = inside if found is None else moves.strip(found, image, shown.directions)
        return [section.inputs[image], *made]

    if across:
        blocks = [
            [
                list(row)
                for row in zip(
                    *(strip(s, shown, i) for shown in s.methods for i in range(len(s.inputs))),
                    strict=True,
                )
            ]
            for s in sections
        ]
        sigma = "σ" if moves.unit == "sigma" else ""
        words = [f"{name} {step:+g}{sigma}" for name in names[0] for step in moves.steps]
        labels = ["Input", "Inversion", *words] * len(sections)
        headers = [(shown.label, len(sections[0].inputs)) for shown in sections[0].methods]
        return _sheet(sections, blocks, labels=labels, headers=headers)
    blocks = [
        [strip(s, shown, i) for i in range(len(s.inputs)) for shown in s.methods] for s in sections
    ]
    labels = [shown.label for s in sections for _ in s.inputs for shown in s.methods]
    same = all(found == names[0] for found in names)
    words = names[0] if same else [" / ".join(column) for column in zip(*names, strict=True)]
    edits = [(word, len(moves.steps)) for word in words]
    return _sheet(sections, blocks, labels=labels, headers=[("Input", 1), ("Inversion", 1), *edits])
