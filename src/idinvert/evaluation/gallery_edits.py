"""Edits of the same images under several methods, side by side (Figs. 5, 11, 20)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from idinvert.editing.edits import Unit
from idinvert.errors import ConfigError
from idinvert.evaluation.gallery import Cells, Section, Shown, named
from idinvert.evaluation.manipulation import edit
from idinvert.evaluation.sheet import Sheet


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
    return Sheet(rows=rows, labels=labels, headers=headers, groups=named(groups), crossed=True)


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
    return Sheet(rows=rows, labels=labels, headers=headers, groups=named(groups), crossed=True)


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
