"""Layouts of the gallery: the same images under several methods, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.editing.directions import Direction
from idinvert.editing.edits import Unit, inner_steps
from idinvert.errors import ConfigError
from idinvert.evaluation.interpolation import blend
from idinvert.evaluation.inversions import Inversions
from idinvert.evaluation.manipulation import edit
from idinvert.evaluation.pictures import Sheet

Cells = list[Tensor | None]


@dataclass(frozen=True)
class Shown:
    """What one method made of a section's images.

    Attributes:
        label: the method's name in the figure.
        inverted: its inversions; None where they could not be made: its places stay crossed out.
        directions: for edits, by name.
    """

    label: str
    inverted: Inversions | None
    directions: Mapping[str, Direction]


@dataclass(frozen=True)
class Section:
    """Images of one domain, under every method.

    Attributes:
        label: the domain's name in the figure; may be empty.
        inputs: uint8 [3, R, R].
        methods: in the order of the figure.
    """

    label: str
    inputs: list[Tensor]
    methods: list[Shown]


def reconstruction_sheet(sections: Sequence[Section], *, across: bool) -> Sheet:
    """Inputs and reconstructions.

    Args:
        sections: a domain each.
        across: True for a column a method and a row an image (Figs. 2, 8, 15); False for a row a
            method and a column an image (Figs. 9, 17, 18).
    """
    blocks = []
    for section in sections:
        inputs: Cells = list(section.inputs)
        made = [_rebuilt(shown, len(section.inputs)) for shown in section.methods]
        blocks.append([inputs, *made])
    labels = ["Input", *(shown.label for shown in sections[0].methods)]
    if across:
        rows = [list(row) for block in blocks for row in zip(*block, strict=True)]
        groups = [(s.label, len(s.inputs)) for s in sections]
        return Sheet(
            rows=rows, headers=[(label, 1) for label in labels], groups=_named(groups), crossed=True
        )
    rows = [row for block in blocks for row in block]
    groups = [(s.label, len(labels)) for s in sections]
    return Sheet(rows=rows, labels=labels * len(sections), groups=_named(groups), crossed=True)


def interpolation_sheet(sections: Sequence[Section], *, steps: int) -> Sheet:
    """Images 0 and 1, 2 and 3, … with what lies between: a row a method (Figs. 4, 19).

    Raises:
        ConfigError: an odd number of images, or fewer than one step.
    """
    rows: list[Cells] = []
    labels: list[str] = []
    groups: list[tuple[str, int]] = []
    weights = inner_steps(steps)
    for section in sections:
        if len(section.inputs) % 2 or steps < 1:
            raise ConfigError(
                f"interpolation takes pairs and steps: got {len(section.inputs)} images "
                f"(task.images) and task.steps={steps}"
            )
        before = len(rows)
        for a in range(0, len(section.inputs), 2):
            for shown in section.methods:
                inside: Cells = [None] * (steps + 2)
                if shown.inverted is not None:
                    first, second = (torch.full((steps,), i) for i in (a, a + 1))
                    between = blend(shown.inverted, first, second, torch.tensor(weights))
                    ends = shown.inverted.images(torch.tensor([a, a + 1]))
                    inside = [ends[0], *between, ends[1]]
                rows.append([section.inputs[a], *inside, section.inputs[a + 1]])
                labels.append(shown.label)
        groups.append((section.label, len(rows) - before))
    headers = [("Input A", 1), ("Inversion A", 1), ("Interpolation", steps)]
    headers += [("Inversion B", 1), ("Input B", 1)]
    return Sheet(rows=rows, labels=labels, headers=headers, groups=_named(groups), crossed=True)


def noise_sheet(sections: Sequence[Section]) -> Sheet:
    """Inputs, reconstructions and the finest noise map that a noise encoder gives (Fig. 13).

    Raises:
        ConfigError: a method that gives no noise maps.
    """
    rows: list[Cells] = []
    labels: list[str] = []
    groups: list[tuple[str, int]] = []
    for section in sections:
        rows.append(list(section.inputs))
        labels.append("Input")
        for shown in section.methods:
            rows.append(_rebuilt(shown, len(section.inputs)))
            rows.append(_noise(shown, len(section.inputs)))
            labels += [shown.label, "Finest noise"]
        groups.append((section.label, 1 + 2 * len(section.methods)))
    return Sheet(rows=rows, labels=labels, groups=_named(groups), crossed=True)


def _rebuilt(shown: Shown, count: int) -> Cells:
    if shown.inverted is None:
        return [None] * count
    return list(shown.inverted.images(torch.arange(count)))


def _noise(shown: Shown, count: int) -> Cells:
    if shown.inverted is None:
        return [None] * count
    maps = shown.inverted.noise(torch.arange(count))
    if maps is None:
        raise ConfigError(
            f"{shown.label}: its encoder gives no noise maps; task.show=noise takes an encoder "
            "trained with encoder=noise"
        )
    finest = maps[-1].float()  # [n, 1, R, R]
    scale = finest.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-6)
    return list((finest / scale).expand(-1, 3, -1, -1))


def _named(groups: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The groups, if there is anything to tell apart."""
    return list(groups) if len(groups) > 1 or any(label for label, _ in groups) else []


@dataclass(frozen=True)
class Moves:
    """How every direction is followed.

    Attributes:
        steps: α of every direction.
        unit: of α, as in `editing.edits`.
        layers: the layers to move; None for each direction's own.
    """

    steps: Sequence[float]
    unit: Unit = "length"
    layers: Sequence[int] | None = None


def manipulation_sheet(sections: Sequence[Section], *, moves: Moves, across: bool) -> Sheet:
    """Inputs, inversions and edits.

    Args:
        sections: a domain each; all methods of a section edit along directions of the same names.
        moves: how the directions are followed.
        across: False for a row an image and method (Figs. 5, 20); True for columns grouped by
            method, with inputs, inversions and edits below each other (Fig. 11).

    Raises:
        ConfigError: sections with different numbers of edits, no steps, or a unit that a direction
            does not know.
    """
    if not moves.steps:
        raise ConfigError("task.edits is empty: expected one step or more")
    names = [_names(section) for section in sections]
    if len({len(found) for found in names}) > 1:
        raise ConfigError(f"sections with different numbers of directions: {names}; set task.names")
    strips = [
        [
            [_strip(section, shown, i, moves) for shown in section.methods]
            for i in range(len(section.inputs))
        ]
        for section in sections
    ]  # section, image, method: input, inversion, edits
    return (
        _down(sections, strips, names, moves) if across else _along(sections, strips, names, moves)
    )


Strips = list[list[list[Cells]]]


def _down(
    sections: Sequence[Section], strips: Strips, names: list[list[str]], moves: Moves
) -> Sheet:
    """Inputs, inversions and edits below each other, a group of columns a method (Fig. 11)."""
    words = [_word(name, step, moves) for name in names[0] for step in moves.steps]
    labels = ["Input", "Inversion", *words] * len(sections)
    rows = [
        [strips[s][i][m][k] for m in range(len(section.methods)) for i in range(len(strips[s]))]
        for s, section in enumerate(sections)
        for k in range(2 + len(words))
    ]
    headers = [(shown.label, len(sections[0].inputs)) for shown in sections[0].methods]
    groups = [(section.label, 2 + len(words)) for section in sections]
    return Sheet(rows=rows, labels=labels, headers=headers, groups=_named(groups), crossed=True)


def _along(
    sections: Sequence[Section], strips: Strips, names: list[list[str]], moves: Moves
) -> Sheet:
    """Input, inversion and edits beside each other, a row an image and method (Figs. 5, 20)."""
    rows = [strip for section in strips for image in section for strip in image]
    labels = [s.label for section in sections for _ in section.inputs for s in section.methods]
    groups = [(section.label, len(section.inputs) * len(section.methods)) for section in sections]
    same = all(found == names[0] for found in names)
    words = names[0] if same else [" / ".join(column) for column in zip(*names, strict=True)]
    headers = [("Input", 1), ("Inversion", 1), *((word, len(moves.steps)) for word in words)]
    return Sheet(rows=rows, labels=labels, headers=headers, groups=_named(groups), crossed=True)


def _word(name: str, step: float, moves: Moves) -> str:
    return f"{name} {step:+g}{'σ' if moves.unit == 'sigma' else ''}"


def _strip(section: Section, shown: Shown, image: int, moves: Moves) -> Cells:
    """Input, inversion and every edit of one image."""
    inverted, place, count = shown.inverted, torch.tensor([image]), len(moves.steps)
    if inverted is None:
        return [section.inputs[image], *[None] * (1 + len(_names(section)) * count)]
    noise = inverted.noise(place)
    many = noise and [one.expand(count, -1, -1, -1) for one in noise]
    cells: Cells = [section.inputs[image], inverted.images(place)[0]]
    for direction in shown.directions.values():
        codes = edit(inverted.codes[image], direction, moves.steps, moves.layers, moves.unit)
        cells += inverted.synthesise(codes, many)
    return cells


def _names(section: Section) -> list[str]:
    """The directions of a section, as headers."""
    for shown in section.methods:
        if shown.inverted is not None:
            return [name.replace("_", " ") for name in shown.directions]
    return []
