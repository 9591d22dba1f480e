"""What both commands share: checking before work, and errors a person can read."""

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from idinvert.cli.sweeps import chosen_by_experiment, chosen_row, with_rows
from idinvert.config.overrides import compose_plain, expand_sweep
from idinvert.config.paths import config_dir
from idinvert.config.schema import register
from idinvert.errors import IdinvertError

NOT_OURS = ("-cd", "-cn", "-cp", "-sc", "--shell-completion")  # and what starts with --config
"""Flags with which the command line is another configuration's, or no job's at all."""
BESIDE_THE_POINT = (
    r".*module\(s\) in eval mode",  # G and F are frozen, and stay in evaluation mode
    r".*have no `validation_step`",  # a GAN has nothing to validate
    r".*does not have many workers",  # images come from a memory map
    r".*isinstance\(treespec",  # between Lightning and torch
)
"""Warnings of Lightning that tell a user of this program nothing."""


def run_app(config_name: str, work: Callable[..., Any]) -> None:
    """Checks the command line, then lets Hydra run ``work`` once or as a sweep.

    Args:
        config_name: ``"train"`` or ``"evaluate"``.
        work: Takes the resolved configuration as plain values, and ``given``: see `given_keys`.
    """
    arguments = sys.argv[1:]
    overrides = [word for word in arguments if word[:1] == "~" or (word[:1] != "-" and "=" in word)]
    if not any(word in NOT_OURS or word.startswith("--config") for word in arguments):
        try:
            jobs = [overrides]
            if any(word in ("-m", "--multirun") for word in arguments):
                words = with_rows(config_name, overrides)
                sys.argv += words[len(overrides) :]
                jobs = expand_sweep(words)
            for one in jobs:
                compose_plain(config_name, chosen_row(config_name, _without_hydra(one)))
        except IdinvertError as error:
            _fail(error)
    register()
    quieten_lightning()

    @hydra.main(config_path=str(config_dir()), config_name=config_name, version_base="1.3")
    def job(config: DictConfig) -> Any:
        given = list(HydraConfig.get().overrides.task)
        argv = sys.argv
        try:
            words = chosen_row(config_name, given)
            if words is not given or HydraConfig.get().mode == RunMode.MULTIRUN:
                # What this job's records and weights say made them, and what its ranks are given.
                sys.argv = [argv[0], *(word for word in words if not word.startswith("row="))]
            if words is given:
                plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            else:
                plain = compose_plain(config_name, words)
                print(f"python {config_name}.py {' '.join(sys.argv[1:])}", flush=True)
            return work(plain, given=given_keys([*words, *chosen_by_experiment(words)]))
        except IdinvertError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                # The sweep's other jobs go on; Hydra prints this one's message at the end.
                raise CompactHydraException(f"error: {error}") from error
            _fail(error)
        finally:
            sys.argv = argv

    job()


def quieten_lightning() -> None:
    """Leaves Lightning its warnings, without those that mean nothing here, tips and greetings."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", message)


def given_keys(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The top-level keys that overrides name, each with the dotted keys that stand there."""
    given: dict[str, list[str]] = {}
    for override in overrides:
        word = override.lstrip("+~").split("=", 1)[0].split("@", 1)[0]
        given.setdefault(word.split(".", 1)[0], []).append(word)
    return given


def _without_hydra(overrides: list[str]) -> list[str]:
    """Leaves out what sets up Hydra itself: launchers need not be installed to check a run."""
    return [word for word in overrides if not word.lstrip("+~").startswith("hydra")]


def _fail(error: IdinvertError) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
