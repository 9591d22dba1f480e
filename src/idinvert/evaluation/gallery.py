"""Task: the same images under several methods, side by side (Figs. 2, 4, 5, 8, 9, 11, 13, 18 …)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from idinvert.data.domain import Domain
from idinvert.editing.directions import Direction
from idinvert.editing.edits import inner_steps
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.interpolation import blend
from idinvert.evaluation.inverted import Inverted
from idinvert.evaluation.sheet import Sheet

Cells = list[Tensor | None]


@dataclass(frozen=True)
class Shown:
    """What one method made of a section's images.

    Attributes:
        label: the method's words.
        inverted: its inversions; None where they could not be made: its places stay crossed out.
        directions: for edits, by name.
    """

    label: str
    inverted: Inverted | None
    directions: Mapping[str, Direction]


@dataclass(frozen=True)
class Section:
    """Images of one domain, under every method.

    Attributes:
        label: the domain's words; may be empty.
        inputs: uint8 [3, R, R].
        methods: in the order of the figure.
    """

    label: str
    inputs: list[Tensor]
    methods: list[Shown]


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
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split is {split!r}: expected train, val or test")
    dataset = getattr(domain, split)
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
            rows=rows, headers=[(label, 1) for label in labels], groups=named(groups), crossed=True
        )
    rows = [row for block in blocks for row in block]
    groups = [(s.label, len(labels)) for s in sections]
    return Sheet(rows=rows, labels=labels * len(sections), groups=named(groups), crossed=True)


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
    return Sheet(rows=rows, labels=labels, headers=headers, groups=named(groups), crossed=True)


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
    return Sheet(rows=rows, labels=labels, groups=named(groups), crossed=True)


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


def named(groups: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The groups, if there is anything to tell apart."""
    return list(groups) if len(groups) > 1 or any(label for label, _ in groups) else []
