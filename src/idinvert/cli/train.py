"""``train.py``: composes the configuration, wires the parts, fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from idinvert.cli import networks as wire
from idinvert.cli.app import run_app
from idinvert.cli.choices import choices_of
from idinvert.cli.provenance import command, commit, versions
from idinvert.cli.run_config import config_of_run
from idinvert.config.build import build
from idinvert.config.identity import run_identity, scientific_config
from idinvert.config.run_folder import find_run, is_first_process, locked, write_config
from idinvert.data.datamodule import ImageDataModule
from idinvert.data.domain import Domain
from idinvert.errors import ConfigError, DivergenceError
from idinvert.tracking.csv_logger import CsvLogger
from idinvert.tracking.status import read_status, write_status
from idinvert.tracking.wandb_logger import open_wandb
from idinvert.training.callbacks.checkpoint import NimgCheckpoint
from idinvert.training.callbacks.finite import StopWhenNotFinite
from idinvert.training.callbacks.folder import latest_checkpoint, nimg_of
from idinvert.training.callbacks.history import History
from idinvert.training.callbacks.panel import Panel, reconstruction_rows, sample_rows
from idinvert.training.callbacks.progress import Progress
from idinvert.training.callbacks.stop import StopAtNimg


@dataclass
class Parts:
    """What a training run is made of, before there is a folder for it."""

    config: dict[str, Any]
    module: Any
    domain: Domain
    contents: dict[str, str]


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
    if config["run"] is not None:
        config = config_of_run(config, given=given or {})
    if config["system"]["num_threads"]:
        torch.set_num_threads(config["system"]["num_threads"])
    parts = assemble(config)
    experiment = _experiment_of(config)
    identity = run_identity(
        scientific_config(
            config, contents=parts.contents, batch_norm_group=_batch_norm_group(config, parts)
        )
    )
    folder = Path(config["system"]["outputs"]) / experiment / identity
    if config["run"] is not None:
        folder = find_run(config["run"], outputs=config["system"]["outputs"])
        identity = folder.name
    with locked(folder):
        if is_first_process():
            write_config(folder, config | {"run": None})
        _fit(parts, folder=folder, identity=identity, experiment=experiment)
    return folder


def assemble(config: dict[str, Any]) -> Parts:
    """Builds data, networks and the LightningModule; everything that can fail early does here."""
    contents = wire.Contents()
    torch.manual_seed(config["seed"])  # the networks' initial weights
    domain = build(config["data"], key="data")
    contents.hashes["data"] = domain.fingerprint
    objective, target = config["objective"], config["objective"]["_target_"]
    seed = {"seed": config["seed"]}
    if target.endswith("AttributeTraining"):
        network = _fresh_attribute_network(config, domain)
        module = build(objective, key="objective", network=network, **seed)
    elif target.endswith("GANTraining"):
        generator = build(config["generator"], key="generator")
        wire.require_resolution(data=domain.resolution, generator=generator.resolution)
        discriminator = wire.starting_discriminator(
            config["discriminator"], generator_path=None, contents=contents
        )
        pair = {"generator": generator, "discriminator": discriminator}
        module = build(objective, key="objective", **pair, **seed)
    else:
        module = _encoder_training(config, domain, contents)
    return Parts(config=config, module=module, domain=domain, contents=contents.hashes)


def _encoder_training(
    config: dict[str, Any], domain: Domain, contents: wire.Contents
) -> pl.LightningModule:
    generator = wire.loaded_generator(config["generator"], contents)
    wire.require_resolution(data=domain.resolution, generator=generator.resolution)
    discriminator = None
    if config["objective"]["lambda_adv"] > 0:
        discriminator = wire.starting_discriminator(
            config["discriminator"],
            generator_path=config["generator"]["path"],
            contents=contents,
        )
    return build(
        config["objective"],
        key="objective",
        generator=generator,
        discriminator=discriminator,
        encoder=wire.fresh_encoder(config["encoder"], config["latent"], generator=generator),
        perceptual=wire.perceptual_network(config["perceptual"], contents),
        seed=config["seed"],
    )


def _fresh_attribute_network(config: dict[str, Any], domain: Domain) -> Any:
    if not domain.attributes:
        raise ConfigError(
            f"data={domain.name} has no labels to learn from; experiment=attributes needs a "
            "miniature domain, such as data=faces_mini."
        )
    return build(
        config["attributes"],
        key="attributes",
        names=[attribute.name for attribute in domain.attributes],
        kinds=[attribute.kind for attribute in domain.attributes],
    )


def _fit(parts: Parts, *, folder: Path, identity: str, experiment: str) -> None:
    config, module = parts.config, parts.module
    checkpoint = latest_checkpoint(folder / "checkpoints")
    start = nimg_of(checkpoint)
    if checkpoint is not None and start >= config["nimg"]:
        _report_done(folder, nimg=start)
        return
    data = ImageDataModule(
        domain=parts.domain,
        batch_size=config["batch_size"],
        seed=config["seed"],
        eval_batch_size=config["eval_batch_size"],
        num_workers=config["system"]["num_workers"],
    )
    callbacks = _callbacks(parts, folder=folder, identity=identity)
    trainer_config = config["trainer"]
    every = config["logging"]["validate_every_nimg"] // config["batch_size"]
    trainer = build(
        trainer_config,
        key="trainer",
        max_epochs=-1,
        val_check_interval=max(1, every),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=_loggers(
            config, folder=folder, identity=identity, experiment=experiment, start=start
        ),
        callbacks=callbacks,
        default_root_dir=str(folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
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


def _callbacks(parts: Parts, *, folder: Path, identity: str) -> list[pl.Callback]:
    config, module = parts.config, parts.module
    history = History(every_nimg=config["logging"]["every_nimg"])
    limits = {"nimg": config["nimg"], "max_seconds": config["max_seconds"]}
    networks = {
        "generator": getattr(module, "generator", None),
        "encoder": getattr(module, "encoder", None),
    }
    provenance = {
        "run": identity,
        "choices": choices_of(config, **networks),
        "stands_on": parts.contents,
        "command": command(),
        "commit": commit(),
        "seed": config["seed"],
        "data": parts.domain.name,
        "data_fingerprint": parts.domain.fingerprint,
        "versions": versions(),
    }
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
    callbacks.append(NimgCheckpoint(folder=folder, provenance=provenance, **config["checkpoint"]))
    return callbacks


def _loggers(
    config: dict[str, Any], *, folder: Path, identity: str, experiment: str, start: int
) -> list[Any]:
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


def _experiment_of(config: dict[str, Any]) -> str:
    """The folder's name: what is trained."""
    target = config["objective"]["_target_"].rsplit(".", 1)[0]
    return target.rsplit(".", 1)[1]


def _batch_norm_group(config: dict[str, Any], parts: Parts) -> int | None:
    norm = ((config["encoder"] or {}).get("backbone") or {}).get("norm", "none")
    if norm == "none" or not hasattr(parts.module, "encoder"):
        return None
    if norm == "sync":
        return config["batch_size"]
    return config["batch_size"] // (devices_of(config["trainer"]) * config["trainer"]["num_nodes"])


def devices_of(trainer: dict[str, Any]) -> int:
    """How many devices of one machine Lightning's ``devices`` means."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    if devices in ("auto", -1, "-1"):
        return max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    return int(devices)


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
    error, mean_error = metrics.get("val/mse", 0.0), metrics.get("val/mse_of_mean_image", 0.0)
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
