"""Task: inverted images moved along semantic directions (Eq. 5, Sec. 4.3; Table 2, Fig. 5)."""

import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from idinvert.data.convert import to_float
from idinvert.editing.directions import Direction, check_direction
from idinvert.editing.edits import UNITS, Unit, sigma_of
from idinvert.editing.edits import manipulate as moved_codes
from idinvert.errors import ConfigError
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.directions import open_directions
from idinvert.evaluation.inversions import Inversions, invert_images
from idinvert.evaluation.outputs import (
    Outputs,
    measured_outputs,
    require_set_metrics,
    write_pairs,
)
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record

STEPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
PROTOCOL = (
    "n manipulated images; image i moves along direction i mod {d} "
    "({names}) by step (i div {d}) mod {s} of {steps}"
)
ONE = (
    "ours: mean change of {name}, as the attribute network reads it (probability, or value in "
    "[-1, 1]), from the inversion to the edit, for each unit of α along {name}"
)
MEAN = "mean of moved_<attribute> over the directions that the attribute network reads"
LEAK = (
    "ours: mean absolute change of the attributes that an edit does not aim at, for each unit of α"
)


def manipulate(
    context: EvaluationContext,
    *,
    directions: str | None = None,
    found_for: str | None = None,
    names: list[str] | None = None,
    steps: Sequence[float] = STEPS,
    layers: list[int] | None = None,
    unit: Unit = "length",
    shown: int = 4,
) -> list[Record]:
    """Move every inverted image along one direction by one step, and measure the set.

    Output i is G(w_i + α·n): of D directions it takes number i mod D, of S steps number (i div D)
    mod S, so that n = D·S images cover every combination once. Where there is an attribute
    network, how far the aimed attribute moves is measured too (ours: the paper looks at pictures).
    Writes `edits.csv`, `parts/`, `pictures.png` and `pictures.pdf` (as Fig. 5).

    Differs from the paper: it does not say which directions and steps its numbers are for.

    Args:
        context: the method and its images.
        directions, found_for, names: see `open_directions`; the order of the names counts.
        steps: α; none of them 0.
        layers: the layers to move; None for each direction's own.
        unit: of α: "length" (a direction's length 1) or "sigma" (the standard deviation of codes
            along it, which GANSpace's directions know).
        shown: rows of the picture.

    Returns:
        The record on the first rank, none on the others.

    Raises:
        ConfigError: no directions or steps, a layer that does not exist, no metric of sets.
        CheckpointError: a direction does not fit G.
        DataError: fewer than n images.
    """
    begin = time.monotonic()
    chosen = open_directions(context, path=directions, names=names, found_for=found_for)
    check_edits(context, chosen, steps=steps, layers=layers, unit=unit)
    require_set_metrics(context, task="manipulation")
    marks = {name: direction.content for name, direction in chosen.items()}
    settings = {"steps": steps, "layers": layers, "unit": unit, "directions": marks}
    with context.task_folder("manipulation", **settings) as out:
        found = invert_images(context)
        if found is None:
            return []
        known = list(chosen)
        index = torch.arange(len(found))
        which, step = index % len(known), index // len(known) % len(steps)
        alpha = torch.tensor([float(steps[s]) for s in step.tolist()])
        write_pairs(
            out / "edits.csv",
            {
                "index": index,
                "name": found.names(),
                "direction": [known[d] for d in which.tolist()],
                "alpha": alpha,
            },
        )

        def edited(place: Tensor) -> Tensor:
            codes = [
                edit(found.codes[i], chosen[known[which[i]]], [float(alpha[i])], layers, unit)
                for i in place.tolist()
            ]
            return found.synthesise(torch.cat(codes), found.noise(place))

        options = {"directions": known, "steps": list(steps), "layers": layers and list(layers)}
        if unit != "length":
            options["unit"] = unit
        outputs, measured = measured_outputs(
            edited,
            context=context,
            found=found,
            out=out,
            task="manipulation",
            options={**options, "marks": marks},
            detail=PROTOCOL.format(
                d=len(known),
                names=", ".join(known),
                s=len(steps),
                steps=f"{list(steps)}{' standard deviations' if unit == 'sigma' else ''}",
            ),
        )
        aimed = [known[d] for d in which.tolist()]
        moved = _movement(context, found, outputs, aimed=aimed, alpha=alpha)
        if shown:
            ends = (min(steps), max(steps))
            write_sheet(_sheet(context, found, chosen, ends, layers, unit, rows=shown), out)
        record = context.record(
            "manipulation",
            options=options,
            measured=measured | moved,
            directions=chosen,
            **found.work(begin),
        )
        return context.finish([record], out)


def check_edits(
    context: EvaluationContext,
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
    generator = context.generator
    if not directions:
        raise ConfigError("there are no directions to move along; set task.directions")
    if not steps or 0 in steps:
        raise ConfigError(f"task.steps is {list(steps)}: expected one or more, none of them 0")
    for direction in directions.values():
        check_direction(
            direction,
            num_layers=generator.num_layers,
            w_dim=generator.w_dim,
            generator=context.provenance.checkpoints.get("generator"),
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
    return moved_codes(code[None], direction, alphas, layers=layers, unit=unit)[0]


def _sheet(
    context: EvaluationContext,
    found: Inversions,
    directions: Mapping[str, Direction],
    steps: Sequence[float],
    layers: Sequence[int] | None,
    unit: Unit,
    *,
    rows: int,
) -> Sheet:
    """Input, inversion, and each direction at each step: a row an image."""
    made = []
    for i in range(min(rows, len(found))):
        row = [context.dataset[i]["image"], found.images(torch.tensor([i]))[0]]
        noise = found.noise(torch.tensor([i]))
        many = noise and [one.expand(len(steps), -1, -1, -1) for one in noise]
        for direction in directions.values():
            codes = edit(found.codes[i], direction, steps, layers, unit)
            row += found.synthesise(codes, many)
        made.append(row)
    edges = [(name.replace("_", " "), len(steps)) for name in directions]
    return Sheet(rows=made, headers=[("Input", 1), ("Inversion", 1), *edges])


def _movement(
    context: EvaluationContext,
    found: Inversions,
    outputs: Outputs,
    *,
    aimed: list[str],
    alpha: Tensor,
) -> MetricValues:
    """How the attributes move, where a network reads them."""
    network = context.measures.attribute_network
    if network is None or not set(aimed) & set(network.names):
        return MetricValues()
    network.to(found.device).eval()
    before: list[Tensor] = []
    after: list[Tensor] = []
    with torch.no_grad():
        for part, images in zip(found.parts(), outputs.parts(), strict=True):
            for images_, read in ((part.images, before), (images, after)):
                read.append(network.predict(to_float(images_).to(found.device)).cpu())
    return movement(
        torch.cat(before),
        torch.cat(after),
        names=network.names,
        aimed=aimed,
        alpha=alpha,
        seed=context.measures.seed,
    )


def movement(
    before: Tensor,
    after: Tensor,
    *,
    names: Sequence[str],
    aimed: Sequence[str],
    alpha: Tensor,
    seed: int = 0,
) -> MetricValues:
    """Change of the attributes a unit of step.

    Args:
        before: attributes of the inversions, float [n, A], on the labels' scale.
        after: attributes of the edits, float [n, A].
        names: of the A attributes.
        aimed: the attribute that each edit aims at; edits of others are left out.
        alpha: each edit's step, float [n], none of them 0.
        seed: of the resamples of intervals.

    Returns:
        `moved_<name>` for every attribute that is aimed at, `moved` their mean, `leaked` for the
        other attributes of the same edits.
    """
    change = (after.double() - before.double()) / alpha.double()[:, None]  # [n, A]
    measured, others = MetricValues(), []
    for name in dict.fromkeys(aimed):
        if name not in names:
            continue
        rows = change[torch.tensor([a == name for a in aimed])]
        column = list(names).index(name)
        measured.add_mean(f"moved_{name}", rows[:, column], seed=seed, text=ONE.format(name=name))
        others.append(rows[:, [k for k in range(len(names)) if k != column]].abs())
    if measured.metrics:
        values, pairs = list(measured.metrics.values()), list(measured.intervals.values())
        mean, half = sum(values) / len(values), None
        if len(pairs) == len(values):  # of different images each: their errors add in squares
            half = math.sqrt(sum((high - low) ** 2 for low, high in pairs)) / 2 / len(pairs)
        measured.add("moved", mean, MEAN, None if half is None else (mean - half, mean + half))
        if len(names) > 1:
            measured.add_mean("leaked", torch.cat(others).mean(dim=1), seed=seed, text=LEAK)
    return measured
