"""How far an edit moves the attribute that it aims at, and how far it moves the others."""

from collections.abc import Sequence

import torch
from torch import Tensor

ONE = (
    "ours: mean change of {name}, as the attribute network reads it (probability, or value in "
    "[-1, 1]), from the inversion to the edit, for each unit of α along {name}"
)
MEAN = "mean of moved_<attribute> over the directions that the attribute network reads"
LEAK = (
    "ours: mean absolute change of the attributes that an edit does not aim at, for each unit of α"
)


def movement(
    before: Tensor, after: Tensor, *, names: Sequence[str], aimed: Sequence[str], alpha: Tensor
) -> tuple[dict[str, float], dict[str, str]]:
    """Change of the attributes a unit of step.

    Args:
        before: attributes of the inversions, float [n, A], on the labels' scale.
        after: attributes of the edits, float [n, A].
        names: of the A attributes.
        aimed: the attribute that each edit aims at; edits of others are left out.
        alpha: each edit's step, float [n], none of them 0.

    Returns:
        `moved_<name>` for every attribute that is aimed at, `moved` their mean, `leaked` for the
        other attributes of the same edits; and their protocols.
    """
    change = (after.double() - before.double()) / alpha.double()[:, None]  # [n, A]
    metrics: dict[str, float] = {}
    words: dict[str, str] = {}
    others = []
    for name in dict.fromkeys(aimed):
        if name not in names:
            continue
        rows = change[torch.tensor([a == name for a in aimed])]
        column = list(names).index(name)
        metrics[f"moved_{name}"] = rows[:, column].mean().item()
        words[f"moved_{name}"] = ONE.format(name=name)
        others.append(rows[:, [k for k in range(len(names)) if k != column]].abs().flatten())
    if metrics:
        metrics["moved"] = sum(metrics.values()) / len(metrics)
        words["moved"] = MEAN
        if len(names) > 1:
            metrics["leaked"] = torch.cat(others).mean().item()
            words["leaked"] = LEAK
    return metrics, words
