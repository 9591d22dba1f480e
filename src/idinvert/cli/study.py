"""Optuna's memory of a study: one JSON object a line, so that a killed study goes on.

The sweeper plugin pins optuna 2.10, whose database storage does not work with SQLAlchemy 2.
"""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from idinvert.cli.trials import finished, read_trials


class TrialsFile(InMemoryStorage):
    """Trials in memory, each of them appended to a file as it is drawn and as it ends.

    A trial that was at work when the study was killed is drawn again with the same parameters: its
    run is found by its identity and goes on.

    Args:
        path: The file; made with the first trial.
    """

    def __init__(self, *, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def set_study_directions(self, study_id: int, directions: Sequence[Any]) -> None:
        """Brings back the trials of the file, now that it is known which of two is better."""
        super().set_study_directions(study_id, directions)
        trials = sorted(read_trials(self.path), key=lambda trial: not finished(trial))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of create_trial
            lines = [self._line(self._bring_back(study_id, trial)) for trial in trials]
        if lines:  # they are numbered anew
            partial = self.path.with_suffix(".partial")
            partial.write_text("".join(lines), encoding="utf-8")
            os.replace(partial, self.path)

    def _bring_back(self, study_id: int, trial: dict[str, Any]) -> int:
        if not finished(trial):
            system = {"fixed_params": trial["params"]}
            template = create_trial(state=TrialState.WAITING, system_attrs=system)
        else:
            distributions: dict[str, BaseDistribution] = {
                name: json_to_distribution(text) for name, text in trial["distributions"].items()
            }
            template = create_trial(
                state=TrialState[trial["state"]],
                value=trial["value"],
                params=trial["params"],
                distributions=distributions,
            )
        return self.create_new_trial(study_id, template_trial=template)

    def set_trial_param(self, trial_id: int, *args: Any, **kwargs: Any) -> None:
        """Keeps what was drawn before any work on it begins."""
        super().set_trial_param(trial_id, *args, **kwargs)
        self._keep(trial_id)

    def set_trial_state(self, trial_id: int, state: TrialState) -> bool:
        """Keeps how a trial ended."""
        changed = super().set_trial_state(trial_id, state)
        if state.is_finished():
            self._keep(trial_id)
        return changed

    def _keep(self, trial_id: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(self._line(trial_id))
            file.flush()
            os.fsync(file.fileno())

    def _line(self, trial_id: int) -> str:
        trial = self.get_trial(trial_id)
        content = {
            "number": trial.number,
            "state": trial.state.name,
            "value": trial.value if trial.state is TrialState.COMPLETE else None,
            "params": trial.params or trial.system_attrs.get("fixed_params", {}),
            "distributions": {
                name: distribution_to_json(one) for name, one in trial.distributions.items()
            },
        }
        return json.dumps(content) + "\n"
