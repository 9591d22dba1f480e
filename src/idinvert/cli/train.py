"""``train.py``: composes the configuration, wires the parts, fits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from idinvert.cli.app import run_app
from idinvert.cli.assemble import Parts, assemble, batch_norm_group
from idinvert.cli.callbacks import callbacks_for, loggers_for
from idinvert.cli.devices import accelerate, check_devices, set_up
from idinvert.cli.requeue import queue_again, requeued_on_signal
from idinvert.cli.run_config import config_of_run, require_same_contents
from idinvert.cli.tracked import check_account
from idinvert.cli.trained import with_trained_generator
from idinvert.config.instantiate import build
from idinvert.config.run_folder import (
    find_run,
    is_first_process,
    locked,
    read_config,
    write_config,
    write_contents,
)
from idinvert.data.datamodule import ImageDataModule
from idinvert.data.domain import prepare
from idinvert.errors import ConfigError, DivergenceError
from idinvert.evaluation.networks import room_name
from idinvert.evaluation.provenance import command
from idinvert.tracking.status import read_status, write_status
from idinvert.training.callbacks.checkpoint import latest_checkpoint, nimg_of
from idinvert.training.callbacks.stop import StopAtNimg, cluster_plugins

JUDGED_BY = ("val/mse", "val/mse_of_mean_image")
"""The figure that must not end above its floor, and the floor; a module may have none."""


def main() -> None:
    """Entry point of ``train.py`` and ``idinvert-train``."""
    run_app("train", train)


def train(config: dict[str, Any], *, given: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Trains one run, or goes on with it.

    Args:
        config: The resolved configuration as plain values.
        given: Keys that stand on the command line, as `given_keys` sorts them.

    Returns:
        The run's folder.
    """
    with requeued_on_signal():
        folder, stopped_by = _train(config, given=given or {})
        queue_again(stopped_by)
    return folder


def _train(
    config: dict[str, Any], *, given: Mapping[str, Sequence[str]]
) -> tuple[Path, str | None]:
    """The run's folder, and the signal that stopped the run before its end."""
    if config["run"] is not None:
        config = config_of_run(config, given=given)
    check_devices(config["trainer"])
    check_account(config)
    set_up(config["system"])
    config = with_trained_generator(config)
    parts = assemble(config)
    accelerate(parts.module, config)
    experiment, identity = room_name(config["objective"]["_target_"]), parts.identity
    folder = Path(config["system"]["outputs"]) / experiment / identity
    if config["run"] is not None:
        folder = find_run(config["run"], outputs=config["system"]["outputs"])
        identity = folder.name
        _require_same_statistics(parts, stored=read_config(folder))
        require_same_contents(config, parts.contents, folder=folder)
    with locked(folder):
        if is_first_process():
            write_config(folder, config | {"run": None}, command=command())
            write_contents(folder, parts.contents)
        stopped_by = _fit(parts, folder=folder, identity=identity, experiment=experiment)
    return folder, stopped_by


def _require_same_statistics(parts: Parts, *, stored: dict[str, Any]) -> None:
    """Refuses to go on with a run on devices that change what BatchNorm sees.

    Raises:
        ConfigError: Says how many images it must be.
    """
    before, now = (batch_norm_group(config, parts.module) for config in (stored, parts.config))
    if before != now:
        raise ConfigError(
            f"the run's BatchNorm takes its statistics over {before} images; with these devices it "
            f"would be {now}. Change trainer.devices and accumulate so that batch_size / (devices "
            f"× accumulate) is {before}, or train another run with encoder.backbone.norm=sync."
        )


def _fit(parts: Parts, *, folder: Path, identity: str, experiment: str) -> str | None:
    """Trains; returns the signal that stopped it before its end."""
    config, module = parts.config, parts.module
    checkpoint = latest_checkpoint(folder / "checkpoints")
    start = nimg_of(checkpoint)
    if checkpoint is not None and start >= config["nimg"]:
        _report_done(folder, nimg=start)
        return None
    for split in (parts.domain.train, parts.domain.val):
        prepare(split)  # before the processes of other devices begin
    data = ImageDataModule(
        domain=parts.domain,
        batch_size=config["batch_size"],
        seed=config["seed"],
        eval_batch_size=config["eval_batch_size"],
        num_workers=config["system"]["num_workers"],
    )
    callbacks = callbacks_for(parts, folder=folder, identity=identity)
    trainer_config = config["trainer"]
    every = config["logging"]["validate_every_nimg"] // config["batch_size"]
    trainer = build(
        trainer_config,
        key="trainer",
        max_epochs=-1,
        val_check_interval=max(1, every),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        plugins=trainer_config.get("plugins") or cluster_plugins(),
        callbacks=callbacks,
        default_root_dir=str(folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    # Not before the Trainer is there: what opens a W&B run must come to where it is closed.
    trainer.loggers = loggers_for(
        parts, folder=folder, identity=identity, experiment=experiment, start=start
    )
    if trainer.is_global_zero:
        word = "continuing" if checkpoint else "starting"
        print(f"{word} {experiment} {identity} in {folder}")
        write_status(folder, state="running", nimg=start)
    state = "failed"
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        state = "finished" if module.nimg >= config["nimg"] else "stopped"
    except DivergenceError:
        state = "diverged"
        raise
    finally:
        if trainer.is_global_zero:
            write_status(folder, state=state, nimg=module.nimg)
        for logger in trainer.loggers:
            logger.finalize("success" if state in ("finished", "stopped") else state)
    _report(trainer, callbacks, folder=folder, state=state, nimg=module.nimg)
    (stop,) = (callback for callback in callbacks if isinstance(callback, StopAtNimg))
    return stop.interrupted_by if state == "stopped" else None


def _report_done(folder: Path, *, nimg: int) -> None:
    """Says that all images were seen before, by a run that may have been killed at its end."""
    state = read_status(folder)["state"]
    if is_first_process():
        if state != "diverged":
            state = "finished"
            write_status(folder, state=state, nimg=nimg)
        print(f"{state} already, at {nimg:,} images: {folder} (a larger nimg goes on)")


def _report(
    trainer: pl.Trainer, callbacks: list[pl.Callback], *, folder: Path, state: str, nimg: int
) -> None:
    if not trainer.is_global_zero:
        return
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    names = getattr(trainer.lightning_module, "judged_by", JUDGED_BY) or ()
    error, mean_error = [metrics.get(name, 0.0) for name in names] or (0.0, 0.0)
    if state == "finished" and not error <= mean_error:  # so that NaN is caught as well
        write_status(folder, state="diverged", nimg=nimg)
        raise DivergenceError(
            f"training ended at {nimg:,} images with a validation error of {error:.4f}, above that "
            f"of G at the mean code ({mean_error:.4f}). Try a smaller objective.lr (a tenth) or "
            "latent.offset=w_avg."
        )
    print(f"{state} at {nimg:,} images: {folder}")
    if state == "stopped":
        print(f"to go on: python train.py run={folder}")
    for name, value in metrics.items():
        print(f"  {name} {value:.4f}")


if __name__ == "__main__":
    main()
