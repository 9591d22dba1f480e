"""Closed-loop control: find the step along a direction at which an image reaches a goal."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Respond = Callable[[Tensor, Tensor], Tensor]
"""Measures edits: steps α float64 [m] of the items with indices int64 [m] to readings [m]."""
TOLERANCE = 1e-3
"""Tolerance of a reading, on the labels' scale of [-1, 1] or [0, 1]."""
RUNGS, ITERATIONS = 8, 40


@dataclass(frozen=True)
class Solved:
    """The result of the search.

    Attributes:
        alpha: the steps, float64 [M]; the best step found if a goal is not reached.
        shown: the readings at these steps, float64 [M].
        reached: whether the goal is reached, bool [M].
    """

    alpha: Tensor
    shown: Tensor
    reached: Tensor


def solve_steps(
    respond: Respond, goals: Tensor, *, limit: float, tolerance: float = TOLERANCE
) -> Solved:
    """Find the step at which each edit reaches its goal; the response need not be linear.

    Steps of growing length, 1/128, 1/64, …, 1 times the limit, are tried in both directions until
    the response passes the goal, so that short steps are preferred. Then false position (the
    Illinois variant, with bisection in every third step) refines the step. Each item is solved
    independently; all unsolved items are evaluated as one batch.

    Args:
        respond: reads edits; continuous in α up to the rounding of images.
        goals: the target readings, [M].
        limit: largest |α|.
        tolerance: the largest |reading − goal| that counts as reached.
    """
    goals = goals.double()
    alpha = torch.zeros_like(goals)
    error = respond(alpha, torch.arange(len(goals))).double() - goals
    ends, errors = alpha.expand(2, -1).clone(), error.expand(2, -1).clone()  # for each side
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
