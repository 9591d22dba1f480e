"""Learning-rate schedules at the places where their formulas are known."""

import pytest

from idinvert.training.schedules import Constant, ExponentialDecay, LinearTail


def test_a_constant_stays():
    assert Constant()(0) == Constant()(10**9) == 1.0


def test_decay_falls_to_its_factor_at_each_quarter_and_smoothly_between():
    schedule = ExponentialDecay(factor=0.8, every_nimg=1000)
    assert schedule(0) == 1.0
    assert schedule(1000) == pytest.approx(0.8)
    assert schedule(4000) == pytest.approx(0.4096)
    assert schedule(500) == pytest.approx(0.8**0.5)


def test_the_authors_doubled_counter_is_the_squared_factor():
    printed = ExponentialDecay(factor=0.8, every_nimg=1000)
    launched = ExponentialDecay(factor=0.64, every_nimg=1000)
    for nimg in (0, 300, 1000, 3999):
        assert launched(nimg) == pytest.approx(printed(2 * nimg))


@pytest.mark.parametrize(
    ("nimg", "factor"), [(0, 1.0), (100, 1.0), (200, 0.55), (300, 0.1), (10_000, 0.1)]
)
def test_the_tail_is_linear_between_its_ends(nimg, factor):
    assert LinearTail(start_nimg=100, end_nimg=300, final=0.1)(nimg) == pytest.approx(factor)


def test_a_tail_of_no_length_is_a_step():
    schedule = LinearTail(start_nimg=100, end_nimg=100, final=0.1)
    assert schedule(100) == 1.0
    assert schedule(101) == pytest.approx(0.1)
