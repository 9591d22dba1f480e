"""The callbacks and loggers of a training run."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from idinvert.cli.assemble import Parts
from idinvert.cli.choices import choices_of
from idinvert.cli.panels import panels_for
from idinvert.cli.tracked import track_training
from idinvert.config.run_folder import first_command
from idinvert.evaluation.provenance import command, commit, device_name, versions
from idinvert.tracking.csv_logger import CsvLogger
from idinvert.training.callbacks.best import BestWeights
from idinvert.training.callbacks.checkpoint import NimgCheckpoint
from idinvert.training.callbacks.history import History
from idinvert.training.callbacks.nan_guard import StopWhenNotFinite
from idinvert.training.callbacks.progress import Progress
from idinvert.training.callbacks.recalibrate import Recalibration
from idinvert.training.callbacks.stop import StopAtNimg


def callbacks_for(parts: Parts, *, folder: Path, identity: str) -> list[pl.Callback]:
    """The callbacks of a run, in the order in which they must act.

    Args:
        parts: The run.
        folder: Its folder.
        identity: Its id.
    """
    config = parts.config
    history = History(every_nimg=config["logging"]["every_nimg"])
    limits = {"nimg": config["nimg"], "max_seconds": config["max_seconds"]}
    callbacks: list[pl.Callback] = [
        StopWhenNotFinite(folder=folder, every=1 if not torch.cuda.is_available() else 50),
        history,
        Progress(history=history, **limits),
        StopAtNimg(**limits),
    ]
    callbacks += panels_for(parts, folder=folder)
    # Last, so that all that belongs to a checkpoint's images has been written before it.
    recalibration = Recalibration(
        images=parts.domain.train,
        count=config.get("recalibrate", 0),  # older runs have none
        seed=config["seed"],
    )
    callbacks.append(recalibration)
    checkpoint = NimgCheckpoint(
        folder=folder,
        provenance=provenance_of(parts, folder=folder, identity=identity),
        recalibration=recalibration,
        **config["checkpoint"],
    )
    callbacks.append(checkpoint)
    callbacks.append(BestWeights(folder=folder))  # of what the checkpoint has just written
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
        "device": device_name(parts.config["trainer"]["accelerator"]),
    }


def loggers_for(
    parts: Parts, *, folder: Path, identity: str, experiment: str, start: int
) -> list[Any]:
    """The loggers of a run.

    Args:
        parts: The run.
        folder: Its folder.
        identity: Its id.
        experiment: What is trained.
        start: Images seen so far.

    Raises:
        ConfigError: W&B was asked for and cannot be had.
    """
    loggers: list[Any] = [CsvLogger(folder=folder, resume_nimg=start)]
    names = {"identity": identity, "experiment": experiment}
    return loggers + track_training(parts, folder=folder, **names)
