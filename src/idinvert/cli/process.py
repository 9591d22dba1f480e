"""What a process must know before it does a job, whoever started it."""

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from idinvert.config.compose import register

BESIDE_THE_POINT = (
    r".*module\(s\) in eval mode",  # G and F are frozen, and stay in evaluation mode
    r".*have no `validation_step`",  # a GAN has nothing to validate
    r".*does not have many workers",  # images come from a memory map
    r".*isinstance\(treespec",  # between Lightning and torch
)
"""Warnings of Lightning that tell a user of this program nothing."""


def in_sweep() -> bool:
    """Whether this process runs a job of a sweep just now."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def prepare_process() -> None:
    """What a job's process needs to know, wherever it runs: schema, quiet, its place among ranks.

    Of several tasks that submitit starts on this machine, each is a rank: Lightning then starts
    none of its own. On a cluster it reads Slurm's own words.
    """
    register()
    quieten_lightning()
    tasks = int(os.environ.get("SUBMITIT_LOCAL_NTASKS", 1))
    if os.environ.get("SUBMITIT_EXECUTOR") == "local" and tasks > 1:
        rank = os.environ["SUBMITIT_LOCAL_GLOBALID"]
        port = 20_000 + int(os.environ["SUBMITIT_LOCAL_JOB_ID"]) % 40_000
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": "0"}
        os.environ |= {"WORLD_SIZE": str(tasks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def importable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function as another process can import it, also after ``python -m MODULE``."""
    spec = sys.modules["__main__"].__spec__
    if function.__module__ != "__main__" or spec is None:
        return function
    return getattr(importlib.import_module(spec.name), function.__name__)


def quieten_lightning() -> None:
    """Leaves Lightning its warnings, without those that mean nothing here, tips and greetings."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", message)
