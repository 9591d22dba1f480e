"""The closed loop against exact answers: linear and non-linear responses, goals out of reach."""

import math

import pytest
import torch

from idinvert.editing.control import TOLERANCE, solve_steps


def solved(response, goals, **options):
    """The solution, and how many edits were read."""
    read: list[int] = []

    def respond(alpha, places):
        read.append(len(places))
        return torch.tensor(
            [response(a, i) for a, i in zip(alpha.tolist(), places.tolist(), strict=True)],
            dtype=torch.float64,
        )

    wanted = torch.tensor(goals, dtype=torch.float64)
    found = solve_steps(respond, wanted, limit=8.0, **options)
    return found, sum(read)


def test_a_linear_response_gives_the_exact_step():
    starts, slopes = [0.1, -0.3, 0.5, 0.2], [0.2, 0.05, -0.4, 0.2]
    goals = [0.3, -0.1, 0.9, 0.2]
    found, _ = solved(lambda a, i: starts[i] + slopes[i] * a, goals, tolerance=1e-9)
    exact = [(g - s) / k for g, s, k in zip(goals, starts, slopes, strict=True)]
    assert found.alpha.tolist() == pytest.approx(exact, abs=1e-7)
    assert found.reached.all() and found.shown.tolist() == pytest.approx(goals, abs=1e-9)
    assert found.alpha[3] == 0, "what already shows its goal stays as it is"


def test_a_nonlinear_response_gives_the_exact_step():
    goals = [0.9, -0.9, 0.05, 0.99]
    found, count = solved(lambda a, i: math.tanh(a / 2), goals, tolerance=1e-9)
    exact = [2 * math.atanh(goal) for goal in goals]
    assert found.alpha.tolist() == pytest.approx(exact, abs=1e-6) and found.reached.all()
    assert count < 30 * len(goals), "faster than halving an interval"
    rough, fewer = solved(lambda a, i: math.tanh(a / 2), goals)
    assert fewer < count and (rough.shown - torch.tensor(goals)).abs().max() <= TOLERANCE


def test_the_shortest_step_is_taken():
    # x² - 2x passes 3 at -1 and at 3, and x² - 2x - 0.5 passes 0 at -0.22 and at 2.22.
    found, _ = solved(lambda a, i: a * a - 2 * a, [3.0, 0.5], tolerance=1e-9)
    assert found.alpha.tolist() == pytest.approx([-1, 1 - math.sqrt(1.5)], abs=1e-7)


def test_a_goal_out_of_reach_is_told_with_the_nearest_step():
    goals = [0.5, 1.5, -0.7, 0.2]
    response = [math.tanh, math.tanh, lambda a: a / 20, lambda a: 0.0]
    found, _ = solved(lambda a, i: response[i](a), goals)
    assert found.reached.tolist() == [True, False, False, False]
    assert found.shown.tolist()[1:] == pytest.approx([math.tanh(8), -0.4, 0.0])
    assert found.alpha.tolist()[1:] == [8, -8, 0]


def test_items_do_not_depend_on_each_other():
    def response(a, i):
        return math.sin(a / (3 + i)) * 0.9

    goals = [0.4, -0.6, 0.85, 0.1]
    together, _ = solved(response, goals)
    for i, goal in enumerate(goals):
        alone, _ = solved(lambda a, _, i=i: response(a, i), [goal])
        assert torch.equal(alone.alpha, together.alpha[i : i + 1])


def test_a_jump_is_not_reached():
    found, _ = solved(lambda a, i: 1.0 if a > 0.3 else -1.0, [0.0])
    assert not found.reached.any()
