"""Task: images between inverted images (Sec. 4.3; Tables 2, 4 to 7, Fig. 4)."""

import time
from typing import Any

import torch
from torch import Tensor

from idinvert.editing.edits import inner_steps
from idinvert.editing.edits import interpolate as between
from idinvert.errors import ConfigError
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import Inversions, invert_images, mixed, of_pair
from idinvert.evaluation.outputs import (
    cycled,
    measured_outputs,
    partners_of,
    require_set_metrics,
    write_pairs,
)
from idinvert.evaluation.pictures import Sheet, write_sheet
from idinvert.results.record import Record

PROTOCOL = (
    "n interpolations; image i with its partner by a stored permutation "
    "(seed {seed}), weight of the partner cycling {first:.4g} to {last:.4g} in {steps} steps"
)


def interpolate(context: EvaluationContext, *, steps: int = 5, shown: int = 4) -> list[Record]:
    """Interpolate between pairs of inverted images, and measure what comes out as a set.

    Output i is G((1 − α)·w_i + α·w_j), j its partner and α the weight at place i of a cycle; the
    noise maps of an encoder that gives them are interpolated too. Writes `pairs.csv`, `parts/` (a
    killed task goes on from there), `pictures.png` and `pictures.pdf` (as Fig. 4).

    Differs from the paper: it does not say which pairs and weights its numbers are for.

    Args:
        context: the method and its images; the pairs are drawn from its seed.
        steps: weights strictly between 0 and 1: 5 gives 1/6 … 5/6.
        shown: rows of the picture.

    Returns:
        The record on the first rank, none on the others.

    Raises:
        ConfigError: no metric of sets is asked for, or fewer than one step.
        DataError: fewer than two images, or fewer than n.
    """
    begin = time.monotonic()
    if steps < 1:
        raise ConfigError(f"task.steps is {steps}: expected 1 or more")
    require_set_metrics(context, task="interpolation")
    partner, within = partners_of(context)
    options: dict[str, Any] = {"steps": steps, "seed": context.seed}
    with context.task_folder("interpolation", **options, n=context.count) as out:
        found = invert_images(context)
        if found is None:
            return []
        weights = inner_steps(steps)
        alpha = cycled(weights, len(found))
        names = found.names()
        write_pairs(
            out / "pairs.csv",
            {
                "index": range(len(partner)),
                "partner": partner,
                "alpha": [f"{a:.6g}" for a in alpha.tolist()],
                "name": names,
                "partner_name": [names[j] for j in partner.tolist()],
            },
        )
        _, measured = measured_outputs(
            lambda index: blend(found, index, partner[index], alpha[index]),
            context=context,
            found=found,
            out=out,
            task="interpolation",
            options={**options, "n": len(found), **within},
            detail=PROTOCOL.format(**options, first=weights[0], last=weights[-1]),
        )
        rows = [
            _row(context, found, i, int(partner[i]), weights) for i in range(min(shown, len(found)))
        ]
        if rows:
            headers = [("Input A", 1), ("Inversion A", 1), ("Interpolation", steps)]
            headers += [("Inversion B", 1), ("Input B", 1)]
            write_sheet(Sheet(rows=rows, headers=headers), out)
        record = context.record(
            "interpolation",
            options=options,
            measured=measured,
            **found.work(begin),
        )
        return context.finish([record], out)


def blend(found: Inversions, a: Tensor, b: Tensor, alpha: Tensor) -> Tensor:
    """Images between the images `a` and `b`, each pair with its own weight of b.

    Args:
        found: the inversions.
        a, b: places int64 [m].
        alpha: float [m].

    Returns:
        uint8 [m, 3, R, R].
    """
    pairs = zip(found.codes[a], found.codes[b], alpha.tolist(), strict=True)
    codes = torch.cat([between(u[None], v[None], [weight])[0] for u, v, weight in pairs])
    noise = mixed(found.noise(a), found.noise(b), lambda u, v: torch.lerp(u, v, of_pair(alpha, u)))
    return found.synthesise(codes, noise)


def _row(
    context: EvaluationContext, found: Inversions, a: int, b: int, weights: list[float]
) -> list[Tensor]:
    count = len(weights)
    inside = blend(found, torch.full((count,), a), torch.full((count,), b), torch.tensor(weights))
    ends = found.images(torch.tensor([a, b]))
    inputs = [context.dataset[i]["image"] for i in (a, b)]
    return [inputs[0], ends[0], *inside, ends[1], inputs[1]]
