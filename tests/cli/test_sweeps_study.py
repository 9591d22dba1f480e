"""Optuna's studies: a figure for each trial, none for a failed one, and going on after a kill."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idinvert.cli.trials import best_trial, finished, read_trials, to_go_on

optuna = pytest.importorskip("optuna")

Command = Callable[..., int]
WORDS = ("-m", "hparams_search=domain_guided_optuna", "hydra.sweeper.n_trials=4")


@pytest.fixture
def file(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """The trials of the one study that has run."""

    def read() -> list[dict[str, Any]]:
        (path,) = (tmp_path / "outputs" / "sweeps").glob("*/trials.jsonl")
        return read_trials(path)

    return read


def study_in(path: Path, *, direction: str = "minimize", seed: int = 0) -> Any:
    from idinvert.cli.study import TrialsFile

    return optuna.create_study(
        study_name="a",
        storage=TrialsFile(path=path),
        direction=direction,
        sampler=optuna.samplers.TPESampler(seed=seed),
        load_if_exists=True,
    )


def ask(study: Any) -> tuple[Any, float]:
    trial = study.ask()
    return trial, trial.suggest_loguniform("lr", 1e-5, 1e-3)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_file_brings_back_every_trial_and_the_best(tmp_path: Path, direction: str) -> None:
    path = tmp_path / "trials.jsonl"
    study = study_in(path, direction=direction)
    drawn = []
    for value in (3.0, 1.0, None, 2.0):
        trial, rate = ask(study)
        drawn.append(rate)
        failed = optuna.trial.TrialState.FAIL
        study.tell(trial, value) if value else study.tell(trial, state=failed)
    _, killed = ask(study)  # and here the process dies

    again = study_in(path, direction=direction, seed=1)
    states = [trial.state.name for trial in again.trials]
    assert states == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "WAITING"]
    assert [trial.params["lr"] for trial in again.trials[:4]] == drawn
    assert again.best_value == (1.0 if direction == "minimize" else 3.0)
    trials = read_trials(path)
    best = best_trial(trials, direction=direction)
    assert best is not None and best["value"] == again.best_value

    trial, rate = ask(again)
    assert rate == killed, "the trial that was at work is drawn again: its run goes on"
    again.tell(trial, 0.5)
    _, fresh = ask(again)
    assert fresh not in drawn and fresh != killed
    third = study_in(path, direction=direction)
    assert [trial.state.name for trial in third.trials].count("COMPLETE") == 4


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    lines = [{"number": 0, "state": "RUNNING"}, {"number": 0, "state": "FAIL"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"number": 1, "st')
    (trial,) = read_trials(path)
    assert trial["state"] == "FAIL" and finished(trial)
    assert best_trial([trial], direction="minimize") is None
    assert read_trials(tmp_path / "none") == []


def test_what_is_left_of_a_study_and_another_seed_are_told_to_the_sweeper() -> None:
    sweeper = {"n_trials": 20, "study_name": None, "sampler": {"seed": 7}}
    trials = [{"state": "COMPLETE"}, {"state": "FAIL"}, {"state": "RUNNING"}]
    assert to_go_on(sweeper, trials, name="n") == [
        "hydra.sweeper.n_trials=18",
        "hydra.sweeper.study_name=n",
        "hydra.sweeper.sampler.seed=9",
    ]
    mine = {"n_trials": 1, "study_name": "mine", "sampler": {"seed": None}}
    assert to_go_on(mine, trials, name="n") == ["hydra.sweeper.n_trials=0"]


def test_a_search_optimises_the_named_figure_and_failed_trials_do_not_count(
    command: Command,
    table: Callable[[], dict[str, Any]],
    file: Callable[[], list[dict[str, Any]]],
    trained: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rates: list[float] = []

    def work(config: dict[str, Any]) -> Path:
        rates.append(config["objective"]["lr"])
        if len(rates) == 2:
            return trained("diverged", state="diverged", mse=0.0)  # better than all, and no good
        if len(rates) == 3:
            raise ZeroDivisionError("not expected")
        return trained(f"run{len(rates)}", mse=config["objective"]["lr"])

    assert command(work, *WORDS) == 1, "two trials failed"
    assert [trial["state"] for trial in file()] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    assert [job["state"] for job in table()["jobs"]] == ["ran", "diverged", "failed", "ran"]
    best = min(rates[0], rates[3])
    assert f"best of 4 trials: {best:.5g} with objective.lr=" in capsys.readouterr().out
    assert len(rates) == len(set(rates)) == 4 and all(1e-5 <= rate <= 1e-3 for rate in rates)

    assert command(work, *WORDS) == 0, "nothing is left to do"
    assert len(rates) == 4
    assert "going on after 4 of 4 trials" in capsys.readouterr().out


def test_a_killed_study_goes_on_and_a_larger_one_adds_trials(
    command: Command, file: Callable[[], list[dict[str, Any]]], trained: Callable[..., Path]
) -> None:
    rates: list[float] = []

    def work(config: dict[str, Any]) -> Path:
        rates.append(config["objective"]["lr"])
        if len(rates) == 2:
            raise KeyboardInterrupt
        return trained(f"run{len(rates)}", mse=config["objective"]["lr"])

    assert command(work, *WORDS) == 130
    assert command(work, *WORDS) == 0
    assert rates[2] == rates[1], "the interrupted trial first, with the same values"
    assert len(file()) == 4 and len(set(rates)) == 4
    assert command(work, *WORDS[:2], "hydra.sweeper.n_trials=5") == 0
    assert len(file()) == 5 and len(set(rates)) == 5


def test_a_study_without_any_figure_says_so(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(config: dict[str, Any]) -> Path:
        raise ValueError("always")

    assert command(work, *WORDS) == 1
    printed = capsys.readouterr()
    assert "error: no trial came to a figure" in printed.err and "Traceback" not in printed.err
    assert "no best trial: none of 4 came to a figure" in printed.out
