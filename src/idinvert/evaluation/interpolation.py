"""Task: images between inverted images (Sec. 4.3; Tables 2, 4 to 7, Fig. 4)."""

import time
from pathlib import Path

import torch
from torch import Tensor

from idinvert.editing.edits import inner_steps, interpolate
from idinvert.errors import ConfigError
from idinvert.evaluation.inverted import Inverted, invert_subject, mixed, of_pair
from idinvert.evaluation.outputs import measured_outputs, require_set_metrics
from idinvert.evaluation.pairs import cycled, write_pairs
from idinvert.evaluation.sheet import Sheet, write_sheet
from idinvert.evaluation.subject import Subject
from idinvert.results.record import Record

PROTOCOL = (
    "n interpolations; image i with its partner by a stored permutation "
    "(seed {seed}), weight of the partner cycling {first:.4g} to {last:.4g} in {steps} steps"
)


def interpolation(
    subject: Subject,
    *,
    out: Path,
    steps: int = 5,
    seed: int = 0,
    shown: int = 4,
    recompute: bool = False,
) -> Record | None:
    """Interpolate between pairs of inverted images, and measure what comes out as a set.

    Output i is G((1 − α)·w_i + α·w_j), j its partner and α the weight at place i of a cycle; the
    noise maps of an encoder that gives them are interpolated too. Writes `pairs.csv`, `parts/` (a
    killed task goes on from there), `pictures.png` and `pictures.pdf` (as Fig. 4).

    Differs from the paper: it does not say which pairs and weights its figures stand on.

    Args:
        subject: the method and its images.
        out: folder of this task.
        steps: weights strictly between 0 and 1: 5 gives 1/6 … 5/6.
        seed: of the pairs.
        shown: rows of the picture.
        recompute: make the outputs again; the inversions stay.

    Returns:
        The record on the first rank, None on the others.

    Raises:
        ConfigError: no metric of sets is asked for, or fewer than one step.
        DataError: fewer than two images, or fewer than n.
    """
    begin = time.monotonic()
    if steps < 1:
        raise ConfigError(f"task.steps is {steps}: expected 1 or more")
    require_set_metrics(subject.measures, task="interpolation")
    partner = subject.partners(seed=seed)
    inverted = invert_subject(subject)
    if inverted is None:
        return None
    weights = inner_steps(steps)
    alpha = cycled(weights, len(inverted))
    names = inverted.found.names()
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

    def between(index: Tensor) -> Tensor:
        return blend(inverted, index, partner[index], alpha[index])

    options = {"steps": steps, "seed": seed}
    _, figures = measured_outputs(
        between,
        subject=subject,
        found=inverted.found,
        out=out,
        task="interpolation",
        options={**options, "n": len(inverted), **subject.within},
        detail=PROTOCOL.format(seed=seed, first=weights[0], last=weights[-1], steps=steps),
        recompute=recompute,
    )
    rows = [
        _row(subject, inverted, i, int(partner[i]), weights)
        for i in range(min(shown, len(inverted)))
    ]
    if rows:
        headers = [("Input A", 1), ("Inversion A", 1), ("Interpolation", steps)]
        headers += [("Inversion B", 1), ("Input B", 1)]
        write_sheet(Sheet(rows=rows, headers=headers), out)
    return subject.record(
        "interpolation",
        n=len(inverted),
        device=inverted.found.made_on,
        options=options,
        figures=figures,
        seconds=inverted.found.seconds() + time.monotonic() - begin,
    )


def blend(inverted: Inverted, a: Tensor, b: Tensor, alpha: Tensor) -> Tensor:
    """Images between the images `a` and `b`, each pair with its own weight of b.

    Args:
        inverted: the inversions.
        a, b: places int64 [m].
        alpha: float [m].

    Returns:
        uint8 [m, 3, R, R].
    """
    pairs = zip(inverted.codes[a], inverted.codes[b], alpha.tolist(), strict=True)
    codes = torch.cat([interpolate(u[None], v[None], [weight])[0] for u, v, weight in pairs])
    noise = mixed(
        inverted.noise(a), inverted.noise(b), lambda u, v: torch.lerp(u, v, of_pair(alpha, u))
    )
    return inverted.synthesise(codes, noise)


def _row(
    subject: Subject, inverted: Inverted, a: int, b: int, weights: list[float]
) -> list[Tensor]:
    count = len(weights)
    between = blend(
        inverted, torch.full((count,), a), torch.full((count,), b), torch.tensor(weights)
    )
    ends = inverted.images(torch.tensor([a, b]))
    inputs = [subject.dataset[i]["image"] for i in (a, b)]
    return [inputs[0], ends[0], *between, ends[1], inputs[1]]
