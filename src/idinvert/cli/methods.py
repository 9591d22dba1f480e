"""Methods that one task compares: the command it was given, with some overrides changed."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from idinvert.checkpoints.bundle import SHIPPED
from idinvert.cli.run_defaults import run_id, trained_runs, with_run, with_trained_generator
from idinvert.config.compose import compose_plain, given_keys
from idinvert.config.run_folder import take_keys
from idinvert.errors import ConfigError, nearest
from idinvert.results.select import failures

KEYS = ("label", "words", "where")
OF_THE_GENERATOR = "choices.generator"
"""Clauses on the generator: those of a figure speak of the paper's, ``run=RUN`` of its own."""


def check_methods(methods: Sequence[Mapping[str, Any]], *, key: str) -> None:
    """Refuses what is no method or section, before any work.

    Args:
        methods: Each with a ``label``, ``words`` (overrides as on the command line) and ``where``
            (clauses as in a table, which choose a run); the last two may be left out.
        key: Where they stand, for the error.

    Raises:
        ConfigError: A key is unknown, or overrides that the command line would refuse.
    """
    if not methods:
        raise ConfigError(f"{key} is empty: expected one entry or more")
    for place, method in enumerate(methods):
        here = f"{key}[{place}]"
        if not isinstance(method, Mapping) or not isinstance(method.get("label"), str):
            raise ConfigError(
                f"{here} is {method!r}: expected {{label: TEXT, words: OVERRIDES, where: CLAUSES}}"
            )
        for name in method:
            if name not in KEYS:
                raise ConfigError(f"{here}.{name} is unknown. " + nearest(name, list(KEYS)))
        try:
            compose_plain("evaluate", _words(method))
        except ConfigError as error:
            raise ConfigError(f"{here}.words: {error}") from error


def changed(config: dict[str, Any], *entries: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the overrides of some entries, later ones over earlier.

    Args:
        config: Of the command, with the values of its run.
        entries: Sections and methods. A ``where`` chooses, of this machine's runs and the shipped
            ones, the fitting one with the most images seen. A ``run=RUN`` of the command leaves
            that one alone to choose from, whatever its generator.

    Raises:
        ConfigError: No run fits.
    """
    words = [word for entry in entries for word in _words(entry)]
    where = {k: v for entry in entries for k, v in (entry.get("where") or {}).items()}
    if where:
        words += _of_run(config, where)
    given = given_keys(words)
    config = copy.deepcopy(config)
    take_keys(
        config, compose_plain("evaluate", words), [w for below in given.values() for w in below]
    )
    if "run" in given:
        config = with_run(config, given=given)
    return with_trained_generator(config)


def _words(entry: Mapping[str, Any]) -> list[str]:
    return str(entry.get("words") or "").split()


def _of_run(config: dict[str, Any], where: Mapping[str, Any]) -> list[str]:
    """The override that chooses the fitting run with the most images seen."""
    outputs = Path(config["system"]["outputs"])
    runs = list(trained_runs(outputs))
    advice = "no run fits {}; train one, or give run=RUN in its words"
    if config["run"] is not None:
        only = run_id(config["run"], outputs)
        runs = [run for run in runs if run.run == only]
        where = {k: v for k, v in where.items() if not k.startswith(OF_THE_GENERATOR)}
        advice = f"run={config['run']} does not fit {{}}; without run= the runs are chosen among"
    fitting = [run for run in runs if not failures(run, where)]
    if not fitting:
        clauses = ", ".join(f"{path}={wanted}" for path, wanted in where.items())
        raise ConfigError(advice.format(clauses))
    chosen = max(fitting, key=lambda run: run.nimg)
    folder = str(chosen.extra["folder"])
    return [f"run={chosen.run if folder.startswith(SHIPPED) else folder}"]
