"""What both commands share: checking before work, and errors a person can read."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf

from idinvert.cli.allocator import keep_freed_memory
from idinvert.cli.job import SweepJob
from idinvert.cli.memory import out_of_memory
from idinvert.cli.plan import Plan, planned, without_hydra
from idinvert.cli.process import importable, in_sweep, quieten_lightning
from idinvert.cli.sweep import run_sweep
from idinvert.cli.sweeps import chosen_by_experiment, chosen_row, given_keys
from idinvert.cli.words import EXPLAINS, in_order, is_override, is_sweep, shows
from idinvert.config.compose import (
    compose_plain,
    config_dir,
    register,
    searchpath,
    take_own_config_dir,
)
from idinvert.errors import IdinvertError

NOT_OURS = ("-cd", "-cn", "-cp", *EXPLAINS)  # and what starts with --config
"""Flags with which the command line is another configuration's, or no job's at all."""


def run_app(config_name: str, work: Callable[..., Any]) -> None:
    """Checks the command line, then lets Hydra run ``work`` once or as a sweep.

    Args:
        config_name: ``"train"`` or ``"evaluate"``.
        work: Takes the resolved configuration as plain values, and ``given``: see `given_keys`.
    """
    try:
        arguments = take_own_config_dir(sys.argv[1:])
    except IdinvertError as error:
        _fail(error)
    arguments = in_order(arguments, [w for w in searchpath() if w not in arguments])
    sys.argv[1:] = arguments
    overrides = [word for word in arguments if is_override(word)]
    plan: Plan | None = None
    if not any(word in NOT_OURS or word.startswith("--config") for word in arguments):
        try:
            if is_sweep(arguments):
                plan = planned(config_name, overrides)
            else:
                sys.argv[1:] = _checked(config_name, arguments, without_hydra(overrides))
        except IdinvertError as error:
            _fail(error)
    register()
    quieten_lightning()
    keep_freed_memory()

    if plan is None:

        def job(config: DictConfig) -> Any:
            return _single(config_name, work, config)

        _with_hydra(config_name, job)()
        return
    sweep_job = SweepJob(
        program=config_name, work=importable(work), sweep=plan.folder.resolve(), argv0=sys.argv[0]
    )
    try:
        run_sweep(plan, config_name, _with_hydra(config_name, lambda config: sweep_job(config)))
    except IdinvertError as error:
        _fail(error)


def _checked(config_name: str, arguments: list[str], overrides: list[str]) -> list[str]:
    """The command line of one job, once its configuration has been composed and checked."""
    words = chosen_row(config_name, overrides)
    compose_plain(config_name, words)
    if words is overrides or not shows(arguments):
        return arguments
    # Hydra prints what it composes itself: that of the row, not of the sweep it stands in.
    flags = [word for word in arguments if not is_override(word)]
    return [*(word for word in words if not word.startswith("row=")), *flags]


def _with_hydra(config_name: str, job: Callable[[DictConfig], Any]) -> Callable[[], None]:
    main = hydra.main(config_path=str(config_dir()), config_name=config_name, version_base="1.3")
    return main(job)


def _single(config_name: str, work: Callable[..., Any], config: DictConfig) -> Any:
    """The one job of a command without ``-m``."""
    given = list(HydraConfig.get().overrides.task)
    argv = sys.argv
    try:
        words = chosen_row(config_name, given)
        if words is given:
            plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        else:
            # What its records and weights say made them, and what its ranks are given.
            sys.argv = [argv[0], *(word for word in words if not word.startswith("row="))]
            plain = compose_plain(config_name, words)
            print(f"python {config_name}.py {' '.join(sys.argv[1:])}", flush=True)
        return work(plain, given=given_keys([*words, *chosen_by_experiment(words)]))
    except IdinvertError as error:
        if in_sweep():  # of another configuration's: --config-dir
            raise CompactHydraException(f"error: {error}") from error
        _fail(error)
    except torch.OutOfMemoryError as error:
        _fail(out_of_memory(error, program=config_name))
    finally:
        sys.argv = argv


def _fail(error: IdinvertError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
