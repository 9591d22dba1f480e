"""Devices of a sweep's jobs: a launcher must start one process a device, and no more."""

import os
import shlex
from typing import Any

from idinvert.cli.devices import devices_of
from idinvert.errors import ConfigError

IN_ONE_PROCESS = ("spawn", "fork", "notebook")
"""Strategies that start their ranks without calling the command again."""
COMMANDS_SHOWN = 12


def through_submitit(launcher: dict[str, Any]) -> bool:
    """Whether a launcher hands its jobs to submitit, where they outlive the command."""
    return "submitit" in launcher["_target_"]


def check_ranks(
    program: str,
    command: list[str],
    jobs: list[tuple[list[str], dict[str, Any]]],
    launcher: dict[str, Any],
) -> None:
    """Refuses several devices a job where each rank would run the whole sweep once more.

    Lightning starts the ranks of ``ddp`` by calling the command again, ``-m`` and all; under
    torchrun or srun that has been done already. Submitit's tasks are ranks of one job.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        command: The words of the command line.
        jobs: Each one's overrides and its ``trainer`` node.
        launcher: The resolved ``hydra.launcher``.

    Raises:
        ConfigError: With the commands that work.
    """
    ranks = _ranks_of_this_process()
    for _, trainer in jobs:
        devices, nodes = devices_of(trainer), int(trainer.get("num_nodes") or 1)
        strategy = str(trainer.get("strategy"))
        if through_submitit(launcher):
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
    """Submitit must start as many tasks on a node as there are devices."""
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
    program: str,
    command: list[str],
    jobs: list[tuple[list[str], dict[str, Any]]],
    devices: int,
    nodes: int,
) -> str:
    """The sweep on a cluster, and one torchrun a job, as lines to copy."""
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


def _ranks_of_this_process() -> int:
    """How many processes run this very command, started by torchrun or srun."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ.get("WORLD_SIZE", 1))
    if "SLURM_STEP_ID" in os.environ:
        return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    return 1
