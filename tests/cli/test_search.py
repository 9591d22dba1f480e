"""Optuna's searches: a value for each trial, none for a failed one, and going on after a kill."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("optuna")

Command = Callable[..., int]
Table = Callable[[], dict[str, Any]]
WORDS = ("-m", "hparams_search=domain_guided_optuna", "hydra.sweeper.n_trials=3")


def test_a_search_optimises_the_named_metric_and_failed_trials_do_not_count(
    command, table, trained, capsys
):
    rates: list[float] = []

    def work(config):
        rates.append(config["objective"]["lr"])
        if len(rates) == 2:
            return trained("diverged", state="diverged", mse=0.0)  # better than all, and no good
        if len(rates) == 3:
            raise ZeroDivisionError("not expected")
        return trained("run", mse=config["objective"]["lr"])

    assert command(work, *WORDS) == 1, "two trials failed"
    first = table()["jobs"]
    assert [job["state"] for job in first] == ["ran", "diverged", "failed"]
    best = f"best of 3 trials: {rates[0]:.5g} with objective.lr="
    assert best in capsys.readouterr().out
    assert len(rates) == len(set(rates)) == 3 and all(1e-5 <= rate <= 1e-3 for rate in rates)

    assert command(work, *WORDS) == 1, "they still are"
    assert len(rates) == 3, "nothing is left to do"
    again = table()["jobs"]
    assert [job["state"] for job in again] == ["done before", "diverged", "failed"]
    for name in ("words", "value", "folder", "traceback", "seconds"):
        assert [job[name] for job in again] == [job[name] for job in first]
    assert best in capsys.readouterr().out


@pytest.mark.parametrize("seed", ["0", "null"])
def test_a_killed_search_goes_on_and_a_larger_one_adds_trials(command, table, trained, seed):
    rates: list[float] = []
    words = [*WORDS, f"hydra.sweeper.sampler.seed={seed}"]

    def work(config):
        rates.append(config["objective"]["lr"])
        if len(rates) == 2:
            raise KeyboardInterrupt
        return trained(f"run{len(rates)}", mse=config["objective"]["lr"])

    assert command(work, *words) == 130
    assert command(work, *words) == 0
    assert rates[2] == rates[1], "the interrupted trial first, with the same values"
    assert len(table()["jobs"]) == 3 and len(set(rates)) == 3 and len(rates) == 4
    assert command(work, *WORDS[:2], words[-1], "hydra.sweeper.n_trials=4") == 0
    assert len(table()["jobs"]) == 4 and len(set(rates)) == 4 and len(rates) == 5


def test_a_search_without_any_value_says_so(command, capsys):
    def work(config):
        raise ValueError("always")

    assert command(work, *WORDS) == 1
    printed = capsys.readouterr()
    assert "error: no trial came to a value" in printed.err and "Traceback" not in printed.err
    assert "no best trial: none of 3 came to a value" in printed.out
