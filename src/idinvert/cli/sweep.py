"""Runs a command with ``-m``: plans and checks the jobs, runs them by Hydra, prints a table."""

import hashlib
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from idinvert.cli.commands import in_order, is_override
from idinvert.cli.devices import devices_of
from idinvert.cli.exit_handling import stopped_by_signals
from idinvert.cli.experiments import chosen_row, every_row
from idinvert.cli.job_status import (
    JOBS,
    best_trial,
    every_job,
    printed,
    with_traceback,
    write_table,
)
from idinvert.cli.sweep_job import SweepJob
from idinvert.config.compose import (
    compose_plain,
    compose_with_hydra,
    expand_sweep,
    parse,
    without_hydra,
)
from idinvert.config.run_folder import TORCHRUN, locked
from idinvert.errors import ConfigError, IdinvertError, as_typed

OWN_SEARCH = "hydra.sweeper.params"
BASIC = "BasicSweeper"
"""Hydra's sweeper over all combinations; any other sweeper draws its jobs itself."""
FULL_ERROR = "HYDRA_FULL_ERROR"
"""Environment variable that makes Hydra raise errors instead of printing them."""
IN_ONE_PROCESS = ("spawn", "fork", "notebook")
"""Parts of the names of strategies that start their ranks without calling the command again."""
COMMANDS_SHOWN = 12

Rows = list[tuple[list[str], dict[str, Any]]]
"""The overrides of each job, and its ``trainer`` node."""


@dataclass(frozen=True)
class Plan:
    """A sweep before it starts.

    Attributes:
        folder: ``<outputs>/sweeps/<name>``, see `sweep_name`.
        jobs: The overrides of each job; ``None`` if an optimising sweeper draws them.
        launcher: The resolved ``hydra.launcher``.
        direction: ``minimize`` or ``maximize`` for a search; empty if the sweeper has none.
        words: Overrides for Hydra in addition to the user's.
    """

    folder: Path
    jobs: list[list[str]] | None
    launcher: dict[str, Any]
    direction: str
    words: list[str]


def planned(program: str, overrides: list[str]) -> Plan:
    """Plans the sweep of a command line's overrides (including Hydra's own) and checks every job.

    Raises:
        ConfigError: A job that cannot be composed, or whose devices do not fit the launcher.
    """
    rows = every_row(program, overrides)
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
        compose_plain(program, chosen_row(program, probes(jobs_words)[0]))  # a clearer error
        raise
    folder = Path(config["system"]["outputs"]) / "sweeps" / name
    quoted = QuotedString(text=str(folder), quote=Quote.single).with_quotes()
    words = [*rows, f"hydra.sweep.dir={quoted}", f"hydra.job.name={name}"]
    launcher: Any = OmegaConf.to_container(hydra.launcher, resolve=True)
    sweeper: Any = OmegaConf.to_container(hydra.sweeper, resolve=False)
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    drawn = _last_wins([*params, *jobs_words])
    search = not sweeper["_target_"].endswith(BASIC)
    jobs = probes(drawn) if search else expand_sweep(drawn)
    chosen = [(chosen := chosen_row(program, job), compose_plain(program, chosen)) for job in jobs]
    trainers = [(row, plain["trainer"] or {}) for row, plain in chosen]
    _check_ranks(program, ["-m", *overrides], trainers, launcher)
    if "seed" in (sampler := sweeper.get("sampler") or {}) and sampler["seed"] is None:
        # The same command must draw the same trials, so that it continues the search.
        words.append(f"hydra.sweeper.sampler.seed={int(name[-6:], 16)}")
    direction = sweeper.get("direction")
    direction = str(getattr(direction, "name", direction or ""))
    return Plan(folder, None if search else jobs, launcher, direction, words)


def sweep_name(program: str, overrides: list[str]) -> str:
    """A label and six digits of a hash of the overrides, so that a command keeps its sweep's name.

    The launcher and ``system.*`` are not part of the hash.
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
    """Jobs that contain every choice, and both ends of every range, that a search may draw."""
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


def run_sweep(program: str, work: Callable[..., Any], with_hydra: Callable[..., Any]) -> None:
    """Plans and runs the sweep of this process's command line; prints and writes its table.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        work: The program's function of a configuration.
        with_hydra: Makes Hydra's main function from the program's name and a job.

    Raises:
        SystemExit: 1 if any job is not done, 130 after Ctrl-C, 143 after SIGTERM. Returns normally
            if all jobs are done.
        IdinvertError: A job cannot be composed, the same sweep is already running, or the folder
            cannot be written.
    """
    arguments = sys.argv[1:]
    plan = planned(program, [word for word in arguments if is_override(word)])
    command = as_typed(f"python {program}.py {shlex.join(sorted(arguments, key=is_override))}")
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
    trouble, interrupted = None, 0
    caught: list[int] = []
    with locked(plan.folder):
        if plan.jobs is not None:
            shutil.rmtree(plan.folder / JOBS, ignore_errors=True)  # of an earlier call
        os.environ[FULL_ERROR] = "1"  # Hydra then raises its errors instead of exiting
        try:
            with stopped_by_signals() as caught:
                with_hydra(program, lambda config: job(config))()
        except KeyboardInterrupt:
            interrupted = 128 + (caught or [signal.SIGINT])[0]
        except SystemExit as error:
            trouble = None if error.code in (None, 0) else "the sweep ended early"
        except Exception as error:
            trouble = _explained(plan, error)
        finally:
            os.environ.pop(FULL_ERROR)
        _report(plan, command, trouble=trouble, interrupted=interrupted)


def _report(plan: Plan, command: str, *, trouble: str | None, interrupted: int) -> None:
    """Prints and writes the table; exits if not all jobs are done."""
    elsewhere = _through_submitit(plan.launcher) and bool(interrupted or trouble is not None)
    jobs = every_job(plan.folder, plan.jobs, over=not elsewhere)
    best = best_trial(jobs, direction=plan.direction) if plan.direction else None
    print("\n" + printed(jobs, best=best))
    print(f"written: {write_table(plan.folder, jobs, command=command, best=best)}", flush=True)
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
    if interrupted:
        if elsewhere:
            print("Jobs that were handed to submitit may still be at work.")
        print(f"to continue: {command}", flush=True)
        sys.exit(interrupted)
    if trouble or not all(status.good for status in jobs):
        sys.exit(1)


def _explained(plan: Plan, error: Exception) -> str:
    """One line for an error of the launcher or the sweeper itself."""
    if isinstance(error, IdinvertError):
        return str(error)
    if isinstance(error, HydraException):
        return str(error).splitlines()[0]
    if "No trials are completed" in str(error):
        return "no trial came to a value"
    path = plan.folder / "traceback.txt"
    return f"{with_traceback(error, path)[:300]} ({path})"


def _last_wins(words: list[str]) -> list[str]:
    """Keeps the last of several overrides of one key, at the position of the first."""
    return list({word.split("=", 1)[0]: word for word in words}.values())


def _through_submitit(launcher: dict[str, Any]) -> bool:
    """Whether a launcher submits its jobs to submitit, where they may outlive the command."""
    return "submitit" in launcher["_target_"]


def _check_ranks(program: str, command: list[str], jobs: Rows, launcher: dict[str, Any]) -> None:
    """Refuses several devices per job if each rank would run the whole sweep again.

    Lightning starts the ranks of ``ddp`` by calling the command again, with ``-m``. Under torchrun
    or srun, every rank already runs the command. Submitit's tasks are ranks of one job.

    Raises:
        ConfigError: Contains commands that work.
    """
    size = "WORLD_SIZE" if TORCHRUN in os.environ else "SLURM_STEP_NUM_TASKS"
    ranks = int(os.environ.get(size, 1))
    for _, trainer in jobs:
        devices, nodes = devices_of(trainer), int(trainer.get("num_nodes") or 1)
        strategy = str(trainer.get("strategy"))
        if _through_submitit(launcher):
            _check_tasks(launcher, trainer, devices, nodes)
        elif ranks > 1:
            raise ConfigError(
                f"-m in each of {ranks} ranks would run the sweep {ranks} times. Give every job "
                f"ranks of its own:{_commands_instead(program, command, jobs, ranks, 1)}"
            )
        elif devices * nodes > 1 and not any(word in strategy for word in IN_ONE_PROCESS):
            raise ConfigError(
                f"-m with {devices * nodes} devices a job: strategy={strategy} starts the whole "
                "command again for every device, sweep and all."
                f"{_commands_instead(program, command, jobs, devices, nodes)}"
            )


def _check_tasks(
    launcher: dict[str, Any], trainer: dict[str, Any], devices: int, nodes: int
) -> None:
    """Refuses a launcher whose tasks per node, or nodes, differ from the trainer's."""
    tasks = int(launcher.get("tasks_per_node") or 1)
    if devices > 1 and tasks != devices:
        slurm = launcher["_target_"].endswith("SlurmLauncher")
        key = "gpus_per_node" if slurm and trainer["accelerator"] != "cpu" else "tasks_per_node"
        raise ConfigError(
            f"hydra.launcher starts {tasks} task(s) on a node for {devices} devices: add "
            f"hydra.launcher.{key}={devices}"
        )
    if int(launcher.get("nodes") or 1) != nodes:
        raise ConfigError(
            f"hydra.launcher.nodes={launcher.get('nodes')} for trainer.num_nodes={nodes}: the two "
            "must be equal."
        )


def _commands_instead(
    program: str, command: list[str], jobs: Rows, devices: int, nodes: int
) -> str:
    """Commands to copy: the sweep on a cluster, and one torchrun per job."""
    key = "tasks_per_node" if jobs[0][1].get("accelerator") == "cpu" else "gpus_per_node"
    submitit = [word for word in command if not word.startswith("hydra/launcher")]
    submitit += ["hydra/launcher=submitit_slurm", f"hydra.launcher.{key}={devices}"]
    torchrun = f"torchrun --standalone --nproc_per_node={devices}"
    if nodes > 1:
        submitit.append(f"hydra.launcher.nodes={nodes}")
        torchrun = f"torchrun --nnodes={nodes} --nproc_per_node={devices} --rdzv_backend=c10d "
        torchrun += "--rdzv_endpoint=HOST:29500"
    rows = [[word for word in words if not word.startswith("row=")] for words, _ in jobs]
    lines = [f"{torchrun} {program}.py {shlex.join(row)}" for row in rows[:COMMANDS_SHOWN]]
    if len(jobs) > COMMANDS_SHOWN:
        lines.append(f"… and {len(jobs) - COMMANDS_SHOWN} more of this kind")
    return (
        f"\nOn a cluster, all of them:\n  python {program}.py {shlex.join(submitit)}\n"
        "Here, one by one:\n  " + "\n  ".join(lines)
    )
