"""What both commands share: checking before work, and errors a person can read."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from idinvert.config.overrides import compose_plain, expand_sweep
from idinvert.config.paths import config_dir
from idinvert.config.schema import register
from idinvert.errors import IdinvertError

VALUED_FLAGS = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")


def run_app(config_name: str, work: Callable[..., Any]) -> None:
    """Checks the command line, then lets Hydra run ``work`` once or as a sweep.

    Args:
        config_name: ``"train"`` or ``"evaluate"``.
        work: Takes the resolved configuration as plain values, and ``given``: see `given_keys`.
    """
    arguments = sys.argv[1:]
    overrides = [word for word in arguments if not word.startswith("-") and "=" in word]
    if not any(word in VALUED_FLAGS or word.startswith("--config") for word in arguments):
        try:
            multirun = any(word in ("-m", "--multirun") for word in arguments)
            for one in expand_sweep(overrides) if multirun else [overrides]:
                compose_plain(config_name, _without_hydra(one))
        except IdinvertError as error:
            _fail(error)
    register()

    @hydra.main(config_path=str(config_dir()), config_name=config_name, version_base="1.3")
    def job(config: DictConfig) -> Any:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        try:
            return work(plain, given=given_keys(HydraConfig.get().overrides.task))
        except IdinvertError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            _fail(error)

    job()


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
