"""Builds the callbacks of a training run, and the panels that its networks can show."""

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from idinvert.checkpoints.bundle import sibling
from idinvert.cli.assemble import Parts
from idinvert.config.instantiate import build
from idinvert.config.run_folder import first_command, is_first_process
from idinvert.editing.direction_files import open_directions
from idinvert.editing.directions import Direction
from idinvert.errors import CheckpointError, ConfigError, as_typed, nearest
from idinvert.evaluation.provenance import command, commit, device_in_words, versions
from idinvert.training import panels
from idinvert.training.callbacks.checkpoint import NimgCheckpoint
from idinvert.training.callbacks.history import History
from idinvert.training.callbacks.panel import Draw, Panel
from idinvert.training.callbacks.progress import Progress
from idinvert.training.callbacks.recalibrate import Recalibration
from idinvert.training.callbacks.stop import StopAtNimg, StopWhenNotFinite
from idinvert.training.callbacks.weights import RunWeights


def callbacks_for(parts: Parts, *, folder: Path) -> list[pl.Callback]:
    """Builds the callbacks of a run, in the order in which they must run."""
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
    own = config.get("callbacks") or {}  # older runs have none
    callbacks += [build(node, key=f"callbacks.{name}") for name, node in own.items()]
    # Last, so that everything up to a checkpoint's nimg has been written before the checkpoint.
    recalibration = Recalibration(
        images=parts.domain.train,
        count=config.get("recalibrate", 0),  # older runs have none
        seed=config["seed"],
    )
    callbacks.append(recalibration)
    provenance = provenance_of(parts, folder=folder)
    weights = RunWeights(folder=folder, provenance=provenance, recalibration=recalibration)
    callbacks.append(NimgCheckpoint(folder=folder, weights=weights, **config["checkpoint"]))
    return callbacks


def provenance_of(parts: Parts, *, folder: Path) -> dict[str, Any]:
    """The provenance that a run's weight files contain.

    The command is the one that started the run, not a ``run=RUN`` that continued it.
    """
    on_gpu = parts.config["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    return {
        "run": folder.name,
        "choices": parts.choices,
        "stands_on": parts.contents,
        "command": first_command(folder) or command(),
        "commit": commit(),
        "seed": parts.config["seed"],
        "data": parts.domain.name,
        "data_fingerprint": parts.domain.fingerprint,
        "versions": versions(),
        "device": device_in_words(torch.device(device)),
    }


DEFAULTS = {
    "panel_images": 8,
    "panel_steps": 20,
    "panel_directions": "auto",
    "panel_direction": None,
}
"""Defaults for older runs, which do not have these keys."""


def panels_for(parts: Parts, *, folder: Path) -> list[pl.Callback]:
    """Builds the panels of a run, which also write PNG files to its folder.

    Raises:
        ConfigError: ``logging.panel_images`` or ``logging.panel_steps`` is below 1, or
            ``logging.panel_direction`` is unknown.
        CheckpointError: ``logging.panel_directions`` names a file that does not fit.
    """
    options = {**DEFAULTS, **parts.config["logging"]}
    module, images, steps = parts.module, options["panel_images"], options["panel_steps"]
    if images < 1 or (steps is not None and steps < 1):
        raise ConfigError(
            f"got logging.panel_images={images}, logging.panel_steps={steps}: expected 1 or more "
            "of each; logging.panel_steps=null draws no inversions."
        )
    panel: dict[str, Any] = {
        "folder": folder,
        "every_nimg": options["panel_every_nimg"],
        "scale": max(1, 96 // parts.domain.resolution),
    }
    count = min(images, len(parts.domain.val))  # type: ignore[arg-type]
    if hasattr(module, "average"):
        return [Panel(key="samples", draw=panels.sample_rows, per_row=8, **panel)]
    if not hasattr(module, "reconstruct") or count == 0:
        return []
    fixed = panels.FixedImages(
        parts.domain.val,
        count=count,
        steps=steps or 0,
        lambda_vgg=(parts.config["perceptual"] or {}).get("lambda_vgg", 0.0),
    )
    draws: dict[str, tuple[Draw, int]] = {
        "reconstructions": (partial(panels.reconstruction_rows, fixed=fixed), 8)
    }
    if steps is not None:
        draws["inversion"] = (partial(panels.inversion_rows, fixed=fixed), 3)
        if count > 1:
            draws["interpolation"] = (partial(panels.interpolation_rows, fixed=fixed), 9)
        direction = _direction(parts, options)
        if direction is not None:
            draw = partial(panels.manipulation_rows, fixed=fixed, direction=direction)
            draws["manipulation"] = (draw, 8)
        if count > 1:
            draws["diffusion"] = (partial(panels.diffusion_rows, fixed=fixed), 5)
    return [
        Panel(key=key, draw=draw, per_row=width, **panel) for key, (draw, width) in draws.items()
    ]


def _direction(parts: Parts, options: dict[str, Any]) -> Direction | None:
    """The direction of the manipulation panel; prints the reason if there is none."""
    wanted = options["panel_directions"]
    if wanted is None:
        return None
    path = _found(parts) if wanted == "auto" else Path(wanted)
    generator = parts.config["generator"]["path"]
    if path is None:
        _say(
            f"there are no edit directions for generator.path={generator}"
            f". Train them with python evaluate.py task=directions generator=checkpoint "
            f"generator.path={generator}, or give logging.panel_directions=FILE "
            "(null: do without)."
        )
        return None
    try:
        found = open_directions(
            path,
            generator=parts.module.generator,
            fingerprint=parts.contents.get("generator"),
            key="logging.panel_directions",
        ).directions
    except CheckpointError as error:
        if wanted != "auto":
            raise
        _say(str(error))
        return None
    name = options["panel_direction"] or min(found)
    if name not in found:
        raise ConfigError(f"logging.panel_direction={name}: " + nearest(name, list(found)))
    return found[name]


def _say(reason: str) -> None:
    if is_first_process():
        print(as_typed(f"no panel of manipulation: {reason}"), flush=True)


def _found(parts: Parts) -> Path | None:
    """The file of directions from ``task=directions``, or the one beside the generator."""
    outputs = Path(parts.config["system"]["outputs"])
    trained = outputs / "evaluations" / parts.contents["generator"] / "directions.safetensors"
    if trained.is_file():
        return trained
    try:
        path = parts.config["generator"]["path"]
        return sibling(path, role="directions", of="generator", key="generator.path")
    except CheckpointError:
        return None
