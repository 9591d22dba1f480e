"""A command with ``-m``: plans and checks its jobs, has Hydra run them, ends with their table."""

import hashlib
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf

from idinvert.cli.commands import in_order, is_override
from idinvert.cli.experiments import chosen_row, with_rows
from idinvert.cli.job_status import JOBS, best_trial, every_job, printed, write_table
from idinvert.cli.launchers import check_ranks, through_submitit
from idinvert.cli.sweep_job import SweepJob
from idinvert.config.compose import (
    compose_plain,
    compose_with_hydra,
    expand_sweep,
    parse,
    without_hydra,
)
from idinvert.config.run_folder import locked, replace_file
from idinvert.errors import ConfigError, IdinvertError

OWN_SEARCH = "hydra.sweeper.params"
BASIC = "BasicSweeper"
"""Hydra's sweeper of every combination; any other one draws its jobs itself."""
FULL_ERROR = "HYDRA_FULL_ERROR"
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Plan:
    """A sweep before it starts.

    Attributes:
        folder: ``<outputs>/sweeps/<name>``, named after what was asked for and a hash of it.
        jobs: The overrides of each; ``None`` where an optimising sweeper draws them.
        launcher: The resolved ``hydra.launcher``.
        direction: Of a search, ``minimize`` or ``maximize``; empty where the sweeper names none.
        words: What Hydra must be told besides the user's words.
    """

    folder: Path
    jobs: list[list[str]] | None
    launcher: dict[str, Any]
    direction: str
    words: list[str]


def planned(program: str, overrides: list[str]) -> Plan:
    """Plans a sweep and checks every job of it.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        overrides: Of the command line, Hydra's own included.

    Raises:
        ConfigError: Anything that would stop a job from being composed.
    """
    rows = with_rows(program, overrides)[len(overrides) :]
    name = sweep_name(program, overrides)
    jobs_words = [*without_hydra(overrides), *rows]
    single = [
        str(one.input_line)
        for one in parse(overrides)
        if not one.is_sweep_override() or one.key_or_group.startswith("hydra")
    ]
    try:
        config, hydra = compose_with_hydra(program, [*single, f"hydra.job.name={name}"])
    except ConfigError:
        compose_plain(program, chosen_row(program, probes(jobs_words)[0]))  # says it better
        raise
    folder = Path(config["system"]["outputs"]) / "sweeps" / name
    words = [*rows, f"hydra.sweep.dir={quoted(folder)}", f"hydra.job.name={name}"]
    launcher: Any = OmegaConf.to_container(hydra.launcher, resolve=True)
    sweeper: Any = OmegaConf.to_container(hydra.sweeper, resolve=False)
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    drawn = _last_wins([*params, *jobs_words])
    search = not sweeper["_target_"].endswith(BASIC)
    jobs = probes(drawn) if search else expand_sweep(drawn)
    chosen = [(chosen := chosen_row(program, job), compose_plain(program, chosen)) for job in jobs]
    trainers = [(row, plain["trainer"] or {}) for row, plain in chosen]
    check_ranks(program, ["-m", *overrides], trainers, launcher)
    if "seed" in (sampler := sweeper.get("sampler") or {}) and sampler["seed"] is None:
        # The same command must draw the same trials: so it goes on.
        words.append(f"hydra.sweeper.sampler.seed={int(name[-6:], 16)}")
    direction = sweeper.get("direction")
    direction = str(getattr(direction, "name", direction or ""))
    return Plan(folder, None if search else jobs, launcher, direction, words)


def sweep_name(program: str, overrides: list[str]) -> str:
    """What was asked for, and six digits of a hash of the words: the same command, the same name.

    Neither the launcher nor where outputs lie is part of it.
    """
    said = [
        word
        for word in overrides
        if not word.lstrip("+~").startswith(("hydra", "system.")) or word.startswith(OWN_SEARCH)
    ]
    values = dict(word.lstrip("+").split("=", 1) for word in said if "=" in word)
    asked = (values.get(key) for key in ("hparams_search", "experiment", "table", "task"))
    label = next((name for name in asked if name and name.replace("_", "").isalnum()), program)
    digest = hashlib.sha256(" ".join([program, *sorted(said)]).encode()).hexdigest()[:6]
    return f"{label}_{digest}"


def probes(words: list[str]) -> list[list[str]]:
    """Jobs that hold each choice and each end of each range once: what a search may draw.

    Args:
        words: Overrides, the later of one key counting.
    """
    drawn: list[list[str]] = []
    for override in parse(_last_wins(words)):
        key, value = override.get_key_element(), override.value()
        if not override.is_sweep_override():
            drawn.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            drawn.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            drawn.append([f"{key}={value.start}", f"{key}={value.end}"])  # type: ignore[union-attr]
    first = [values[0] for values in drawn]
    return [first] + [
        [*first[:index], value, *first[index + 1 :]]
        for index, values in enumerate(drawn)
        for value in values[1:]
    ]


def quoted(path: Path) -> str:
    """A path as a value of an override, whatever signs are in it."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def run_sweep(program: str, work: Callable[..., Any], with_hydra: Callable[..., Any]) -> None:
    """Plans the sweep of this process's command line, runs it, prints and stores its table.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        work: What the program does with a configuration.
        with_hydra: Makes Hydra's main function of the program's name and a job.

    Raises:
        SystemExit: 1 if any job is not done, 130 after Ctrl-C; nothing if all are.
        IdinvertError: A job that cannot be composed, the very same sweep is running already, or
            there is no room for it.
    """
    arguments = sys.argv[1:]
    plan = planned(program, [word for word in arguments if is_override(word)])
    command = f"python {program}.py {shlex.join(sorted(arguments, key=is_override))}"
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"system.outputs: {error}. Give a folder that can be written.") from error
    job = SweepJob(
        program=program,
        work=work,
        sweep=plan.folder.resolve(),
        search=plan.jobs is None,
        argv0=sys.argv[0],
    )
    sys.argv[1:] = in_order(arguments, plan.words)
    trouble, interrupted, before = None, False, os.environ.get(FULL_ERROR)
    with locked(plan.folder):
        if plan.jobs is not None:
            for path in (plan.folder / JOBS).glob("*"):
                path.unlink()  # of another call of this sweep
        os.environ[FULL_ERROR] = "1"  # Hydra raises its errors, where it would print and exit
        try:
            with_hydra(program, lambda config: job(config))()
        except KeyboardInterrupt:
            interrupted = True
        except SystemExit as error:
            trouble = None if error.code in (None, 0) else "the sweep ended early"
        except Exception as error:
            trouble = _explained(plan, error)
        finally:
            os.environ.pop(FULL_ERROR)
            os.environ |= {} if before is None else {FULL_ERROR: before}
        _report(plan, command, trouble=trouble, interrupted=interrupted)


def _report(plan: Plan, command: str, *, trouble: str | None, interrupted: bool) -> None:
    """Prints and stores the table; ends the process where not all is done."""
    elsewhere = through_submitit(plan.launcher) and (interrupted or trouble is not None)
    jobs = every_job(plan.folder, plan.jobs, over=not elsewhere)
    best = best_trial(jobs, direction=plan.direction) if plan.direction else None
    print("\n" + printed(jobs, best=best))
    print(f"written: {write_table(plan.folder, jobs, command=command, best=best)}", flush=True)
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
    if interrupted:
        if elsewhere:
            print("Jobs that were handed to submitit may still be at work.")
        print(f"to go on: {command}", flush=True)
        sys.exit(INTERRUPTED)
    if trouble or not all(status.good for status in jobs):
        sys.exit(1)


def _explained(plan: Plan, error: Exception) -> str:
    """One line for what broke the launcher or the sweeper itself."""
    if isinstance(error, IdinvertError):
        return str(error)
    if isinstance(error, HydraException):
        return str(error).splitlines()[0]
    if "No trials are completed" in str(error):
        return "no trial came to a value"
    path = plan.folder / "traceback.txt"
    replace_file(path, "".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({path})"


def _last_wins(words: list[str]) -> list[str]:
    """Of several overrides of one key, the last, at the place of the first."""
    return list({word.split("=", 1)[0]: word for word in words}.values())
