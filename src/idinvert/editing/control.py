"""How far to go along a direction until an image shows what is asked for (closed loop)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Respond = Callable[[Tensor, Tensor], Tensor]
"""What edits show: steps α float64 [m] of the places int64 [m] to readings [m]."""
TOLERANCE = 1e-3
"""Of a reading, on the labels' scale of [-1, 1] or [0, 1]."""
RUNGS, ITERATIONS = 8, 40


@dataclass(frozen=True)
class Solved:
    """Where the search ended.

    Attributes:
        alpha: the steps, float64 [M]; the nearest that was found where a goal is not reached.
        shown: the readings there, float64 [M].
        reached: whether the goal is reached, bool [M].
    """

    alpha: Tensor
    shown: Tensor
    reached: Tensor


def solve_steps(
    respond: Respond, goals: Tensor, *, limit: float, tolerance: float = TOLERANCE
) -> Solved:
    """Find the step at which each edit shows its goal; the response need not be linear.

    Steps of growing length, 1/128, 1/64, …, 1 of the limit, are tried to either side until the
    response passes the goal; so the shortest step wins. Then false position (the Illinois variant,
    with a bisection in every third step) closes in. Each item is solved on its own; all that are
    open are read together.

    Args:
        respond: reads edits; continuous in α up to the rounding of images.
        goals: the readings that are asked for, [M].
        limit: the longest |α|.
        tolerance: the largest |reading − goal| that counts as reached.
    """
    goals = goals.double()
    alpha = torch.zeros_like(goals)
    error = respond(alpha, torch.arange(len(goals))).double() - goals
    ends, errors = alpha.expand(2, -1).clone(), error.expand(2, -1).clone()  # of either side
    near, far, at_near, at_far = alpha.clone(), alpha.clone(), error.clone(), error.clone()
    best, at_best = alpha.clone(), error.clone()
    bracketed = torch.zeros(len(goals), dtype=torch.bool)

    def read(step: Tensor, places: Tensor) -> Tensor:
        found = respond(step, places).double() - goals[places]
        nearer = found.abs() < at_best[places].abs()
        best[places[nearer]], at_best[places[nearer]] = step[nearer], found[nearer]
        return found

    for rung in reversed(range(RUNGS)):
        for side, sign in enumerate((1.0, -1.0)):
            open_ = (~bracketed & (at_best.abs() > tolerance)).nonzero().flatten()
            if not len(open_):
                break
            step = goals.new_full((len(open_),), sign * limit / 2**rung)
            found = read(step, open_)
            passed = found.sign() != errors[side, open_].sign()
            here = open_[passed]
            near[here], at_near[here] = ends[side, here], errors[side, here]
            far[here], at_far[here] = step[passed], found[passed]
            bracketed[here] = True
            ends[side, open_], errors[side, open_] = step, found
    for k in range(ITERATIONS):
        open_ = (bracketed & (at_best.abs() > tolerance)).nonzero().flatten()
        if not len(open_):
            break
        a, b, at_a, at_b = near[open_], far[open_], at_near[open_], at_far[open_]
        step = (a + b) / 2 if k % 3 == 2 else b - at_b * (b - a) / (at_b - at_a)
        found = read(step, open_)
        crossed = found.sign() != at_b.sign()
        near[open_] = torch.where(crossed, b, a)
        at_near[open_] = torch.where(crossed, at_b, at_a / 2)
        far[open_], at_far[open_] = step, found
    return Solved(best, at_best + goals, at_best.abs() <= tolerance)
