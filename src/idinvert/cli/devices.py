"""Devices and ranks of a command, and the setup of this process."""

import ctypes
import logging
import multiprocessing
import os
import sys
import warnings
from typing import Any

import torch
from torch import distributed

from idinvert.acceleration import accelerate_networks, use_tf32
from idinvert.config.compose import register
from idinvert.errors import ConfigError, show_notes_plainly

_log = logging.getLogger(__name__)

IGNORED_WARNINGS = (
    r".*module\(s\) in eval mode",  # G and F are frozen and stay in evaluation mode
    r".*have no `validation_step`",  # a GAN has no validation
    r".*does not have many workers",  # images are read from a memory map
    r".*isinstance\(treespec",  # a matter between Lightning and torch
)
"""Lightning's warnings that are irrelevant to users of this program."""
CHATTY = ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "matplotlib")
"""Loggers. Lightning sets the level of the first when it is imported, which may be later."""
LARGEST = 32 * 2**20
"""Size in bytes from which freed memory is returned at once; the largest value glibc allows."""
KEPT = 2**30
"""Bytes of freed memory that are kept; the rest is returned to the system."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
NEEDS_LESS = {
    "train": "accumulate=4 takes a step in four parts, batch_size=… takes fewer images a step, "
    "eval_batch_size=… fewer in validation, system.checkpoint_activations=true keeps less of G",
    "evaluate": "batch_size=… inverts fewer images together and changes no result (auto: as many "
    "as fit on a GPU), nor does "
    "system.checkpoint_activations=true, which keeps less of G",
}
"""Program to advice for using less memory."""

NODES_BY_HAND = "NODE_RANK"
"""Set by users who start the ranks of several machines without torchrun or Slurm."""


def prepare_process() -> None:
    """Sets up the process of a job, however it was started: schema, warnings, memory, rank.

    If submitit started several tasks on this machine, each is a rank, and Lightning starts no
    further ones. On a cluster, Lightning reads Slurm's variables.
    """
    register()
    quieten_lightning()
    show_notes_plainly()
    keep_freed_memory()
    if multiprocessing.get_start_method(allow_none=True) == "loky":
        # In a job of joblib. Neither loader processes nor ours start that way.
        multiprocessing.set_start_method(None, force=True)
    tasks = int(os.environ.get("SUBMITIT_LOCAL_NTASKS", 1))
    if os.environ.get("SUBMITIT_EXECUTOR") == "local" and tasks > 1:
        rank = os.environ["SUBMITIT_LOCAL_GLOBALID"]
        port = 20_000 + int(os.environ["SUBMITIT_LOCAL_JOB_ID"]) % 40_000
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": "0"}
        os.environ |= {"WORLD_SIZE": str(tasks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def quieten_lightning() -> None:
    """Silences Lightning's tips and irrelevant warnings; other warnings are still shown."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)


def keep_freed_memory() -> bool:
    """Tells the C library to keep the memory of freed activations.

    By default, glibc returns blocks of some MiB or more to the system, and the next training step
    waits until the same pages are mapped and cleared again: a twentieth of its time in miniature.
    Results do not change.

    Returns:
        Whether the setting was applied; only glibc (Linux) has it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return mallopt(_M_MMAP_THRESHOLD, LARGEST) == 1 and mallopt(_M_TRIM_THRESHOLD, KEPT) == 1


def out_of_memory(error: Exception, *, program: str) -> ConfigError:
    """The error shown instead of torch's when a device is out of memory."""
    first = str(error).strip().split(". ", 1)[0]
    advice = NEEDS_LESS[program]
    return ConfigError(f"out of memory ({first}). {advice}; then give the command again.")


def devices_of(trainer: dict[str, Any]) -> int:
    """The number of devices per machine that Lightning's ``devices`` selects."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    if devices in ("auto", -1, "-1"):
        return max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    return int(devices)


def ranks_of(trainer: dict[str, Any]) -> int:
    """The number of training processes: the devices of all machines."""
    return devices_of(trainer) * int(trainer["num_nodes"])


def check_devices(trainer: dict[str, Any]) -> None:
    """Refuses devices that do not exist, and any number of processes but one per device.

    Raises:
        ConfigError: Names the keys to change.
    """
    _check_gpus(trainer)
    devices, nodes = devices_of(trainer), int(trainer["num_nodes"])
    asked = f"trainer.devices={devices} on each of trainer.num_nodes={nodes}"
    if distributed.is_available() and distributed.is_torchelastic_launched():
        here, machines = os.environ["LOCAL_WORLD_SIZE"], os.environ["GROUP_WORLD_SIZE"]
        if int(os.environ["WORLD_SIZE"]) != devices * nodes:
            raise ConfigError(
                f"torchrun started {os.environ['WORLD_SIZE']} processes, expected one a device: "
                f"{asked}. Use trainer.devices={here} trainer.num_nodes={machines} with "
                "trainer=ddp (trainer=ddp_cpu without GPUs), or change --nproc-per-node."
            )
    elif _under_slurm():
        _check_tasks(devices, nodes, asked=asked)
    elif nodes > 1 and NODES_BY_HAND not in os.environ:
        raise ConfigError(
            f"trainer.num_nodes={nodes}, and nothing has started processes on the other machines. "
            f"Use torchrun --nnodes {nodes} on each, or srun in a Slurm job (docs/clusters.md)."
        )


def set_up(system: dict[str, Any]) -> None:
    """Sets the number of CPU threads and a GPU's float32 arithmetic as in ``system``."""
    if system["num_threads"]:
        torch.set_num_threads(system["num_threads"])
    use_tf32(bool(system.get("tf32")))


def accelerate(module: Any, config: dict[str, Any]) -> None:
    """Sets activation checkpointing, compilation and CUDA graphs of an objective, as in ``system``.

    An objective without ``graphs`` runs its steps eagerly.
    """
    system = config["system"]
    networks = [getattr(module, name, None) for name in ("generator", "encoder", "perceptual")]
    if getattr(module, "path_length", None) is not None:
        system = system | {"compile": False}  # compiled code cannot be differentiated twice
    accelerate_networks(system, *networks)
    if system.get("cuda_graphs") and hasattr(module, "graphs"):
        module.graphs.enabled = ranks_of(config["trainer"]) == 1
        if not module.graphs.enabled:
            _log.warning("cuda_graphs: off, ranks exchange gradients within a step")


def check_batch(config: dict[str, Any]) -> None:
    """Refuses a batch that cannot be divided equally over devices and micro-batches.

    Raises:
        ConfigError: Names the keys to change.
    """
    batch, ranks, count = config["batch_size"], ranks_of(config["trainer"]), accumulate_of(config)
    if count < 1 or batch % (ranks * count):
        raise ConfigError(
            f"got batch_size={batch} for {ranks} device(s) and accumulate={count}, expected a "
            f"multiple of {ranks} × {max(count, 1)}: batch_size counts the images of one step over "
            "all devices. Change batch_size, accumulate or trainer.devices."
        )


def check_validation(config: dict[str, Any], *, images: int) -> None:
    """Refuses fewer validation images than devices, unless there are none.

    Raises:
        ConfigError: Names the keys to change.
    """
    ranks = ranks_of(config["trainer"])
    if 0 < images < ranks:
        raise ConfigError(
            f"got {images} validation image(s) for {ranks} devices, expected none or one a device "
            f"at least. Use data.val=0 or data.val={ranks}, or fewer trainer.devices."
        )


def accumulate_of(config: dict[str, Any]) -> int:
    """The number of micro-batches in a step; 1 for older runs, which do not have the key."""
    return int(config.get("accumulate", 1))


def _check_gpus(trainer: dict[str, Any]) -> None:
    wanted = trainer["accelerator"] in ("gpu", "cuda")
    if not wanted or torch.backends.mps.is_available():
        return
    found = torch.cuda.device_count()
    if found == 0:
        raise ConfigError(
            f"trainer.accelerator={trainer['accelerator']}, and this machine has no GPU that torch "
            "can use. Use trainer=ddp_cpu (two processes on the CPU) or trainer=cpu."
        )
    if devices_of(trainer) > found:
        raise ConfigError(
            f"trainer.devices={trainer['devices']}, and this machine has {found} GPU(s). Use "
            "trainer.devices=auto for all of them."
        )


def _check_tasks(devices: int, nodes: int, *, asked: str) -> None:
    """Refuses Slurm tasks (the ranks) that are not one per device, or not started by srun."""
    tasks = int(os.environ["SLURM_NTASKS"])
    machines = int(os.environ.get("SLURM_NNODES", nodes))
    each = os.environ.get("SLURM_NTASKS_PER_NODE")
    if tasks != devices * nodes or (tasks > 1 and (each, machines) != (str(devices), nodes)):
        here = each or f"{tasks // machines}"
        raise ConfigError(
            f"Slurm started {tasks} task(s) on {machines} node(s) (--ntasks-per-node={each}), "
            f"expected one a device: {asked}. Use trainer=ddp trainer.devices={here} "
            f"trainer.num_nodes={machines}, or --nodes={nodes} --ntasks-per-node={devices}."
        )
    if tasks > 1 and not {"SLURM_STEP_ID", "SLURM_STEPID"} & set(os.environ):
        raise ConfigError(
            f"a Slurm job of {tasks} tasks, and this is its batch script alone, which would wait "
            "for the other ranks for ever. Put srun before the command."
        )


def _under_slurm() -> bool:
    """Whether Lightning takes its ranks from Slurm; it does not in an interactive shell."""
    if "SLURM_NTASKS" not in os.environ:
        return False
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    return SLURMEnvironment.job_name() not in ("bash", "interactive")
