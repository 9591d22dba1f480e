"""How far an edit moves the attribute that it aims at, and how far it moves the others."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.metrics.figures import Figures

ONE = (
    "ours: mean change of {name}, as the attribute network reads it (probability, or value in "
    "[-1, 1]), from the inversion to the edit, for each unit of α along {name}"
)
MEAN = "mean of moved_<attribute> over the directions that the attribute network reads"
LEAK = (
    "ours: mean absolute change of the attributes that an edit does not aim at, for each unit of α"
)


def movement(
    before: Tensor,
    after: Tensor,
    *,
    names: Sequence[str],
    aimed: Sequence[str],
    alpha: Tensor,
    seed: int = 0,
) -> Figures:
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
    figures, others = Figures(), []
    for name in dict.fromkeys(aimed):
        if name not in names:
            continue
        rows = change[torch.tensor([a == name for a in aimed])]
        column = list(names).index(name)
        figures.add_mean(f"moved_{name}", rows[:, column], seed=seed, text=ONE.format(name=name))
        others.append(rows[:, [k for k in range(len(names)) if k != column]].abs())
    if figures.metrics:
        values, pairs = list(figures.metrics.values()), list(figures.intervals.values())
        mean, half = sum(values) / len(values), None
        if len(pairs) == len(values):  # of different images each: their errors add in squares
            half = math.sqrt(sum((high - low) ** 2 for low, high in pairs)) / 2 / len(pairs)
        figures.add("moved", mean, MEAN, None if half is None else (mean - half, mean + half))
        if len(names) > 1:
            figures.add_mean("leaked", torch.cat(others).mean(dim=1), seed=seed, text=LEAK)
    return figures
