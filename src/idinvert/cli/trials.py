"""The trials of a study as its file tells them; reads without optuna, which is an extra."""

import json
from pathlib import Path
from typing import Any

FILE = "trials.jsonl"
FINISHED = ("COMPLETE", "FAIL", "PRUNED")


def read_trials(path: Path) -> list[dict[str, Any]]:
    """The last word on each trial, by number; a last line torn by a kill is left out."""
    last: dict[int, dict[str, Any]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                trial = json.loads(line)
            except json.JSONDecodeError:
                break
            last[trial["number"]] = trial
    return [last[number] for number in sorted(last)]


def finished(trial: dict[str, Any]) -> bool:
    """Whether a trial needs no more work: it has its figure, or failed."""
    return trial["state"] in FINISHED


def best_trial(trials: list[dict[str, Any]], *, direction: str) -> dict[str, Any] | None:
    """The trial with the best figure; failed ones have none.

    Args:
        trials: From `read_trials`.
        direction: ``minimize`` or ``maximize``.
    """
    done = [trial for trial in trials if trial["state"] == "COMPLETE"]
    sign = -1 if direction == "maximize" else 1
    return min(done, key=lambda trial: sign * trial["value"], default=None)


def to_go_on(sweeper: dict[str, Any], trials: list[dict[str, Any]], *, name: str) -> list[str]:
    """What the sweeper must be told so that ``n_trials`` counts those of earlier calls as well.

    Args:
        sweeper: The composed ``hydra.sweeper``.
        trials: From `read_trials`.
        name: Of the study where its configuration gives none.
    """
    count = sum(map(finished, trials))
    words = [f"hydra.sweeper.n_trials={max(0, sweeper['n_trials'] - count)}"]
    if sweeper.get("study_name") is None:
        words.append(f"hydra.sweeper.study_name={name}")
    seed = (sweeper.get("sampler") or {}).get("seed")
    if seed is not None:  # the same one would draw the study's first trials again
        words.append(f"hydra.sweeper.sampler.seed={seed + count}")
    return words
