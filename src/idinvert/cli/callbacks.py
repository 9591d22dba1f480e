"""The callbacks and loggers of a training run."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from idinvert.cli.assemble import Parts
from idinvert.cli.choices import choices_of
from idinvert.cli.provenance import command, commit, versions
from idinvert.config.run_folder import first_command, is_first_process
from idinvert.tracking.csv_logger import CsvLogger
from idinvert.tracking.wandb_logger import open_wandb
from idinvert.training.callbacks.checkpoint import NimgCheckpoint
from idinvert.training.callbacks.finite import StopWhenNotFinite
from idinvert.training.callbacks.history import History
from idinvert.training.callbacks.panel import Panel, reconstruction_rows, sample_rows
from idinvert.training.callbacks.progress import Progress
from idinvert.training.callbacks.stop import StopAtNimg


def callbacks_for(parts: Parts, *, folder: Path, identity: str) -> list[pl.Callback]:
    """The callbacks of a run, in the order in which they must act.

    Args:
        parts: The run.
        folder: Its folder.
        identity: Its id.
    """
    config, module = parts.config, parts.module
    history = History(every_nimg=config["logging"]["every_nimg"])
    limits = {"nimg": config["nimg"], "max_seconds": config["max_seconds"]}
    callbacks: list[pl.Callback] = [
        StopWhenNotFinite(folder=folder, every=1 if not torch.cuda.is_available() else 50),
        history,
        Progress(history=history, **limits),
        StopAtNimg(**limits),
    ]
    panel: dict[str, Any] = {
        "folder": folder,
        "every_nimg": config["logging"]["panel_every_nimg"],
        "scale": max(1, 96 // parts.domain.resolution),
    }
    if hasattr(module, "reconstruct") and len(parts.domain.val) > 0:  # type: ignore[arg-type]
        draw = reconstruction_rows(parts.domain.val)
        callbacks.append(Panel(key="reconstructions", draw=draw, per_row=8, **panel))
    elif hasattr(module, "average"):
        draw = sample_rows(z_dim=module.generator.z_dim)
        callbacks.append(Panel(key="samples", draw=draw, per_row=8, **panel))
    # Last, so that all that belongs to a checkpoint's images has been written before it.
    provenance = provenance_of(parts, folder=folder, identity=identity)
    callbacks.append(NimgCheckpoint(folder=folder, provenance=provenance, **config["checkpoint"]))
    return callbacks


def provenance_of(parts: Parts, *, folder: Path, identity: str) -> dict[str, Any]:
    """What the weight files of a run say about where they come from.

    The command is the one that started the run, not ``run=RUN`` that went on with it.
    """
    networks = {
        "generator": getattr(parts.module, "generator", None),
        "encoder": getattr(parts.module, "encoder", None),
    }
    return {
        "run": identity,
        "choices": choices_of(parts.config, **networks),
        "stands_on": parts.contents,
        "command": first_command(folder) or command(),
        "commit": commit(),
        "seed": parts.config["seed"],
        "data": parts.domain.name,
        "data_fingerprint": parts.domain.fingerprint,
        "versions": versions(),
    }


def loggers_for(
    config: dict[str, Any], *, folder: Path, identity: str, experiment: str, start: int
) -> list[Any]:
    """The loggers of a run.

    Args:
        config: The resolved configuration as plain values.
        folder: The run's folder.
        identity: The run's id.
        experiment: What is trained.
        start: Images seen so far.
    """
    loggers: list[Any] = [CsvLogger(folder=folder, resume_nimg=start)]
    options = config["logger"]["wandb"]
    if options is not None and is_first_process():
        wandb_logger = open_wandb(
            folder=folder,
            run_id=identity,
            config=config | {"versions": versions(), "commit": commit()},
            job_type="train",
            name=f"{experiment}_{identity}_seed{config['seed']}",
            **(options | {"group": options["group"] or experiment}),
        )
        loggers.append(wandb_logger)
    return loggers
