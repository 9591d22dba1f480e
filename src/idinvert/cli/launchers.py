"""What a sweep's launcher needs before any work: its extra, its keys, and no ranks of ranks."""

import importlib
import importlib.util
import os
import shlex
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from idinvert.cli.devices import devices_of
from idinvert.config.compose import config_dir, own_config_dir
from idinvert.config.instantiate import nearest
from idinvert.errors import ConfigError

NEEDS = {
    "hydra/launcher=joblib": ("hydra_joblib_launcher", "sweep"),
    "hydra/launcher=submitit_local": ("hydra_submitit_launcher", "slurm"),
    "hydra/launcher=submitit_slurm": ("hydra_submitit_launcher", "slurm"),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "sweep"),
}
"""Choice to the plugin and the extra that brings it."""
TYPES = {
    "JoblibLauncher": ("hydra_joblib_launcher", "JobLibLauncherConf"),
    "LocalLauncher": ("hydra_submitit_launcher", "LocalQueueConf"),
    "SlurmLauncher": ("hydra_submitit_launcher", "SlurmQueueConf"),
}
"""Class of a launcher to its typed keys."""
SUBMITIT = ("LocalLauncher", "SlurmLauncher")
IN_ONE_PROCESS = ("spawn", "fork", "notebook")
"""Strategies that start their ranks without calling the command again."""
COMMANDS_SHOWN = 12


@dataclass(frozen=True)
class Launcher:
    """The launcher of a sweep.

    Attributes:
        kind: Its class.
        node: Its resolved keys.
    """

    kind: str
    node: dict[str, Any]


def check_extras(overrides: list[str]) -> None:
    """Refuses a launcher or sweeper that is not installed, with the command that installs it.

    Raises:
        ConfigError: The extra is missing.
    """
    for word in [*overrides, *_of_search(overrides)]:
        plugin, extra = NEEDS.get(word.lstrip("+"), (None, ""))
        if plugin and importlib.util.find_spec(f"hydra_plugins.{plugin}") is None:
            raise ConfigError(f"{word} needs an extra: pip install 'idinvert[{extra}]'")


def drop_schemas() -> None:
    """Leaves the plugins' launchers out of Hydra's store where conf/hydra/launcher has its own.

    Hydra would match the two by name and warn of it; `read_launcher` checks keys and types.
    """
    Plugins.instance()  # it is what finds and stores them
    stored = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for path in (config_dir() / "hydra" / "launcher").glob("*.yaml"):
        stored.pop(path.name, None)


def read_launcher(node: dict[str, Any]) -> Launcher:
    """The launcher of a composed ``hydra.launcher``, its keys checked as its plugin types them.

    Raises:
        ConfigError: An unknown key or a value of the wrong type.
    """
    kind = node["_target_"].rsplit(".", 1)[-1]
    if kind in TYPES:
        plugin, name = TYPES[kind]
        schema = getattr(importlib.import_module(f"hydra_plugins.{plugin}.config"), name)
        for key, value in node.items():
            try:
                OmegaConf.update(OmegaConf.structured(schema), key, value, merge=False)
            except OmegaConfBaseException as error:
                known = list(OmegaConf.structured(schema))
                hint = str(error).splitlines()[0] if key in known else nearest(key, known)
                raise ConfigError(f"hydra.launcher.{key}={value}: {hint}") from error
    return Launcher(kind, node)


def refuse_ranks_of_ranks(
    program: str, command: list[str], jobs: list[tuple[list[str], Any]], launcher: Launcher
) -> None:
    """Refuses several devices a job where each rank would run the whole sweep once more.

    Lightning starts the ranks of ``ddp`` by calling the command again, ``-m`` and all; under
    torchrun or srun that has been done already. Submitit's tasks are ranks of one job.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        command: The words of the command line.
        jobs: Each one's words and its ``trainer`` node.
        launcher: That runs them.

    Raises:
        ConfigError: With the commands that work.
    """
    ranks = _ranks_of_this_process()
    for _, trainer in jobs:
        devices, nodes = devices_of(trainer), int(trainer.get("num_nodes") or 1)
        strategy = str(trainer.get("strategy"))
        if launcher.kind in SUBMITIT:
            _check_tasks(launcher, devices, nodes, cpu=trainer.get("accelerator") == "cpu")
        elif ranks > 1:
            raise ConfigError(
                f"-m in each of {ranks} ranks would run the sweep {ranks} times. Give every job "
                f"ranks of its own:{_commands_instead(program, command, jobs, max(ranks, 2), 1)}"
            )
        elif devices * nodes > 1 and not any(word in strategy for word in IN_ONE_PROCESS):
            raise ConfigError(
                f"-m with {devices * nodes} devices a job: strategy={strategy} starts the whole "
                f"command again for every device, sweep and all."
                f"{_commands_instead(program, command, jobs, devices, nodes)}"
            )


def _check_tasks(launcher: Launcher, devices: int, nodes: int, *, cpu: bool) -> None:
    """Submitit must start as many tasks on a node as there are devices."""
    tasks = int(launcher.node.get("tasks_per_node") or 1)
    on_cluster = launcher.kind == "SlurmLauncher"
    if devices > 1 and tasks != devices:
        key = "tasks_per_node" if cpu or not on_cluster else "gpus_per_node"
        raise ConfigError(
            f"hydra.launcher starts {tasks} task(s) on a node for {devices} devices: add "
            f"hydra.launcher.{key}={devices}"
        )
    if int(launcher.node.get("nodes") or 1) != nodes:
        raise ConfigError(
            f"hydra.launcher.nodes={launcher.node.get('nodes')} for trainer.num_nodes={nodes}: "
            "the two must be equal."
        )


def _commands_instead(
    program: str,
    command: list[str],
    jobs: list[tuple[list[str], Any]],
    devices: int,
    nodes: int,
) -> str:
    """The sweep on a cluster, and one torchrun a job, as lines to copy."""
    own = [word for word in command if not word.startswith("hydra/launcher")]
    on_cpu = jobs[0][1].get("accelerator") == "cpu"
    key = "tasks_per_node" if on_cpu else "gpus_per_node"
    submitit = [*own, "hydra/launcher=submitit_slurm", f"hydra.launcher.{key}={devices}"]
    submitit += [f"hydra.launcher.nodes={nodes}"] if nodes > 1 else []
    first = f"torchrun --standalone --nproc_per_node={devices}"
    if nodes > 1:
        first = (
            f"torchrun --nnodes={nodes} --nproc_per_node={devices} --rdzv_backend=c10d "
            "--rdzv_endpoint=HOST:29500"
        )
    lines = [
        f"{first} {program}.py {shlex.join(word for word in words if not word.startswith('row='))}"
        for words, _ in jobs[:COMMANDS_SHOWN]
    ]
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


def _of_search(overrides: list[str]) -> list[str]:
    """The Hydra choices of ``hparams_search=NAME``."""
    names = [word.split("=", 1)[1] for word in overrides if word.startswith("hparams_search=")]
    name = f"hparams_search/{names[-1] if names else ''}.yaml"
    paths = [root / name for root in (own_config_dir(), config_dir()) if root is not None]
    text = next((path.read_text(encoding="utf-8") for path in paths if path.is_file()), "")
    return [choice for choice in NEEDS if f"override /{choice.replace('=', ': ')}" in text]
