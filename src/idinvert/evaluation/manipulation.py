"""Task: inverted images moved along semantic directions (Eq. 5, Sec. 4.3; Table 2, Fig. 5)."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from idinvert.data.convert import to_float
from idinvert.editing.directions import Direction, check_direction
from idinvert.editing.edits import UNITS, Unit, manipulate, sigma_of
from idinvert.errors import ConfigError
from idinvert.evaluation.inverted import Inverted, invert_subject
from idinvert.evaluation.movement import movement
from idinvert.evaluation.outputs import Outputs, measured_outputs, require_set_metrics
from idinvert.evaluation.pairs import write_pairs
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.evaluation.subject import Subject
from idinvert.metrics.figures import Figures
from idinvert.results.record import Record

STEPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
PROTOCOL = (
    "n manipulated images; image i moves along direction i mod {d} "
    "({names}) by step (i div {d}) mod {s} of {steps}"
)


def manipulation(
    subject: Subject,
    *,
    directions: Mapping[str, Direction],
    out: Path,
    steps: Sequence[float] = STEPS,
    layers: Sequence[int] | None = None,
    unit: Unit = "length",
    shown: int = 4,
    recompute: bool = False,
) -> Record | None:
    """Move every inverted image along one direction by one step, and measure the set.

    Output i is G(w_i + α·n): of D directions it takes number i mod D, of S steps number (i div D)
    mod S, so that n = D·S images cover every combination once. Where the subject has an attribute
    network, how far the aimed attribute moves is measured too (ours: the paper looks at pictures).
    Writes `edits.csv`, `parts/`, `pictures.png` and `pictures.pdf` (as Fig. 5).

    Differs from the paper: it does not say which directions and steps its figures stand on.

    Args:
        subject: the method and its images.
        directions: by name, in the order that counts.
        out: folder of this task.
        steps: α; none of them 0.
        layers: the layers to move; None for each direction's own.
        unit: of α: "length" (a direction's length 1) or "sigma" (the standard deviation of codes
            along it, which GANSpace's directions know).
        shown: rows of the picture.
        recompute: make the outputs again; the inversions stay.

    Returns:
        The record on the first rank, None on the others.

    Raises:
        ConfigError: no directions or steps, a layer that does not exist, no metric of sets.
        CheckpointError: a direction does not fit G.
        DataError: fewer than n images.
    """
    begin = time.monotonic()
    check_edits(subject, directions, steps=steps, layers=layers, unit=unit)
    require_set_metrics(subject.measures, task="manipulation")
    inverted = invert_subject(subject)
    if inverted is None:
        return None
    names = list(directions)
    index = torch.arange(len(inverted))
    which, step = index % len(names), index // len(names) % len(steps)
    alpha = torch.tensor([float(steps[s]) for s in step.tolist()])
    write_pairs(
        out / "edits.csv",
        {
            "index": index,
            "name": inverted.found.names(),
            "direction": [names[d] for d in which.tolist()],
            "alpha": alpha,
        },
    )

    def edited(place: Tensor) -> Tensor:
        codes = [
            edit(inverted.codes[i], directions[names[which[i]]], [float(alpha[i])], layers, unit)
            for i in place.tolist()
        ]
        return inverted.synthesise(torch.cat(codes), inverted.noise(place))

    options = {"directions": names, "steps": list(steps), "layers": layers and list(layers)}
    if unit != "length":
        options["unit"] = unit
    marks = {name: direction.content for name, direction in directions.items()}
    outputs, figures = measured_outputs(
        edited,
        subject=subject,
        found=inverted.found,
        out=out,
        task="manipulation",
        options={**options, "marks": marks},
        detail=PROTOCOL.format(
            d=len(names),
            names=", ".join(names),
            s=len(steps),
            steps=f"{list(steps)}{' standard deviations' if unit == 'sigma' else ''}",
        ),
        recompute=recompute,
    )
    moved = _movement(subject, inverted, outputs, names=names, which=which, alpha=alpha)
    if shown:
        ends = (min(steps), max(steps))
        sheet = edit_sheet(
            subject,
            inverted,
            directions,
            steps=ends,
            layers=layers,
            unit=unit,
            images=range(shown),
        )
        write_sheet(sheet, out)
    return subject.record(
        "manipulation",
        n=len(inverted),
        device=inverted.found.made_on,
        options=options,
        figures=figures | moved,
        directions=directions,
        seconds=inverted.found.seconds() + time.monotonic() - begin,
    )


def check_edits(
    subject: Subject,
    directions: Mapping[str, Direction],
    *,
    steps: Sequence[float],
    layers: Sequence[int] | None,
    unit: Unit = "length",
) -> None:
    """Refuse edits that cannot be made, before anything is inverted.

    Raises:
        ConfigError: no directions or steps, a step of 0, a layer that G does not have, or a unit
            that a direction does not know.
        CheckpointError: a direction does not fit G.
    """
    generator = subject.generator
    if not directions:
        raise ConfigError("there are no directions to move along; set task.directions")
    if not steps or 0 in steps:
        raise ConfigError(f"task.steps is {list(steps)}: expected one or more, none of them 0")
    for direction in directions.values():
        check_direction(
            direction,
            num_layers=generator.num_layers,
            w_dim=generator.w_dim,
            generator=subject.origin.checkpoints.get("generator"),
        )
    if unit not in UNITS:
        raise ConfigError(f"task.unit is {unit!r}: expected {' or '.join(UNITS)}")
    if unit == "sigma":
        for direction in directions.values():
            sigma_of(direction)
    if layers is not None and not all(0 <= k < generator.num_layers for k in layers):
        raise ConfigError(
            f"task.layers is {list(layers)}: the generator has layers 0 to "
            f"{generator.num_layers - 1}"
        )


def edit(
    code: Tensor,
    direction: Direction,
    alphas: Sequence[float],
    layers: Sequence[int] | None,
    unit: Unit = "length",
) -> Tensor:
    """One image's codes [L, w_dim] at every step: [S, L, w_dim]."""
    return manipulate(code[None], direction, alphas, layers=layers, unit=unit)[0]


def edit_sheet(
    subject: Subject,
    inverted: Inverted,
    directions: Mapping[str, Direction],
    *,
    steps: Sequence[float],
    layers: Sequence[int] | None,
    images: Sequence[int],
    unit: Unit = "length",
) -> Sheet:
    """Input, inversion, and each direction at each step: a row an image."""
    rows = []
    for i in images[: len(inverted)]:
        row = [subject.dataset[i]["image"], inverted.images(torch.tensor([i]))[0]]
        noise = inverted.noise(torch.tensor([i]))
        many = noise and [one.expand(len(steps), -1, -1, -1) for one in noise]
        for direction in directions.values():
            codes = edit(inverted.codes[i], direction, steps, layers, unit)
            row += inverted.synthesise(codes, many)
        rows.append(row)
    edges = [(name.replace("_", " "), len(steps)) for name in directions]
    return Sheet(rows=rows, headers=[("Input", 1), ("Inversion", 1), *edges])


def _movement(
    subject: Subject,
    inverted: Inverted,
    outputs: Outputs,
    *,
    names: list[str],
    which: Tensor,
    alpha: Tensor,
) -> Figures:
    """How the attributes move, where a network reads them."""
    network = subject.measures.attribute_network
    if network is None or not set(names) & set(network.names):
        return Figures()
    network.to(inverted.found.device).eval()
    before: list[Tensor] = []
    after: list[Tensor] = []
    with torch.no_grad():
        for part, images in zip(inverted.found.parts(), outputs.parts(), strict=True):
            for images_, read in ((part.images, before), (images, after)):
                read.append(network.predict(to_float(images_).to(inverted.found.device)).cpu())
    return movement(
        torch.cat(before),
        torch.cat(after),
        names=network.names,
        aimed=[names[d] for d in which.tolist()],
        alpha=alpha,
        seed=subject.measures.seed,
    )
