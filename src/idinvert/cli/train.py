"""``train.py``: trains a run, or continues it."""

import contextlib
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from idinvert.checkpoints.release import read_header
from idinvert.cli.assemble import Parts, assemble, batch_norm_group
from idinvert.cli.callbacks import callbacks_for
from idinvert.cli.devices import accelerate, check_devices, set_up
from idinvert.cli.run_defaults import stored_config
from idinvert.cli.run_log import kept_in, print_tree
from idinvert.cli.slurm import queue_again, requeued_on_signal
from idinvert.cli.trained_gans import with_trained_generator
from idinvert.cli.wandb_reporting import check_account, track_training
from idinvert.config import run_folder
from idinvert.config.compose import usual_targets
from idinvert.config.instantiate import build, check_signatures, named_words, own_targets
from idinvert.data.datamodule import ImageDataModule, permutation
from idinvert.data.domain import prepare
from idinvert.errors import ConfigError, DivergenceError, OutputError, as_typed
from idinvert.evaluation.provenance import command
from idinvert.tracking.loggers import CsvLogger
from idinvert.tracking.run_files import last_values, write_status
from idinvert.training.callbacks.checkpoint import is_finished, nimg_of, undamaged_checkpoint
from idinvert.training.callbacks.stop import StopAtNimg, cluster_plugins

NOT_STORED: dict[str, Any] = {"run": None, "classes": [], "callbacks": {}}
"""Keys that are not stored: a command that continues a run must set them again."""
JUDGED_BY = ("val/mse", "val/mse_of_mean_image")
"""The metric that must not end above its bound, and the bound; a module may have none."""
JUDGED_FROM = 10_000
"""Minimum images seen before a run is checked for divergence; a shorter run is only a trial."""


MAY_CHANGE = (
    *("run", "classes", "name", "tags", "callbacks", "nimg", "max_seconds", "accumulate"),
    *("trainer", "logger", "system", "logging", "checkpoint"),
)
"""Keys that ``run=RUN`` takes from the command line; the others come from the run's config."""

SCIENCE = ("trainer.precision", "system.tf32")
"""Keys below these that may not change."""


def train(config: dict[str, Any], *, given: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Trains one run, or continues it.

    Args:
        config: The resolved configuration as plain values.
        given: Keys that the command line sets, see `given_keys`.

    Returns:
        The run's folder.

    Raises:
        ConfigError: An invalid value, or settings that do not fit together.
        DivergenceError: The run has diverged.
    """
    with requeued_on_signal():
        folder, stopped_by = _train(config, given=given or {})
        queue_again(stopped_by)
    return folder


def _train(
    config: dict[str, Any], *, given: Mapping[str, Sequence[str]]
) -> tuple[Path, str | None]:
    """Trains; returns the run's folder and the signal that stopped it before its end, if any."""
    if config["run"] is not None:
        config = config_of_run(config, given=given)
    else:
        check_signatures(config)  # for calls from Python; the command line has been checked already
    check_devices(config["trainer"])
    check_account(config)
    print_tree(config)
    set_up(config["system"])
    config = with_trained_generator(config)
    parts = assemble(config)
    accelerate(parts.module, config)
    folder = Path(config["system"]["outputs"]) / parts.experiment / parts.identity
    if config["run"] is not None:
        folder = run_folder.find_run(config["run"], outputs=config["system"]["outputs"])
        stored = stored_config(folder, classes=config["classes"])
        _require_same_statistics(parts, stored=stored)
        require_same_contents(config, parts.contents, folder=folder, stored=stored)
    with run_folder.locked(folder):
        if run_folder.is_first_process():
            run_folder.write_config(folder, config | NOT_STORED, command=command())
            run_folder.write_contents(folder, parts.contents)
        with kept_in(folder):
            stopped_by = _fit(parts, folder=folder)
    return folder, stopped_by


def _require_same_statistics(parts: Parts, *, stored: dict[str, Any]) -> None:
    """Refuses to continue a run on devices that change the group size of BatchNorm.

    Raises:
        ConfigError: Names both group sizes.
    """
    before, now = (batch_norm_group(config, parts.module) for config in (stored, parts.config))
    if before != now:
        raise ConfigError(
            f"the run's BatchNorm takes its statistics over {before} images; with these devices it "
            f"would be {now}. Change trainer.devices and accumulate so that batch_size / (devices "
            f"× accumulate) is {before}, or train another run with encoder.backbone.norm=sync."
        )


def _fit(parts: Parts, *, folder: Path) -> str | None:
    """Fits the module; returns the signal that stopped it before its end, if any."""
    config, module = parts.config, parts.module
    checkpoint = _checkpoint_of(folder)
    start = nimg_of(checkpoint)
    if checkpoint and start >= config["nimg"] and is_finished(folder, checkpoint):
        _report_done(parts, folder=folder, nimg=start)
        return None
    # Before other ranks start. Other training images are prepared during training.
    count = len(parts.domain.train)  # type: ignore[arg-type]
    first = permutation(count, seed=config["seed"], epoch=0)[: config.get("recalibrate", 0)]
    prepare(parts.domain.train, first.tolist())
    prepare(parts.domain.val)
    data = ImageDataModule(
        domain=parts.domain,
        batch_size=config["batch_size"],
        seed=config["seed"],
        eval_batch_size=config["eval_batch_size"],
        num_workers=config["system"]["num_workers"],
    )
    callbacks = callbacks_for(parts, folder=folder)
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
    # Only after the Trainer is built: an error between would leave the W&B run open.
    loggers = [CsvLogger(folder=folder, resume_nimg=start), *track_training(parts, folder=folder)]
    trainer.loggers = loggers
    if trainer.is_global_zero:
        word = "continuing" if checkpoint else "starting"
        print(f"{word} {parts.experiment} {folder.name} in {folder}")
        write_status(folder, state="running", nimg=start)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except BaseException as error:
        asked = isinstance(error, KeyboardInterrupt | SystemExit)  # Lightning converts the former
        state = "diverged" if isinstance(error, DivergenceError) else "failed"
        state = "stopped" if asked else state
        with contextlib.suppress(OutputError):  # must not hide the original error
            _conclude(trainer, folder=folder, state=state, nimg=module.nimg)
        raise
    state = "finished" if module.nimg >= config["nimg"] else "stopped"
    (stop,) = (callback for callback in callbacks if isinstance(callback, StopAtNimg))
    stopped_by = stop.interrupted_by if state == "stopped" else None
    _conclude(trainer, folder=folder, state=state, nimg=module.nimg, stopped_by=stopped_by)
    _report(trainer, parts, folder=folder, state=state)
    return stopped_by


def _checkpoint_of(folder: Path) -> Path | None:
    """The checkpoint from which a run continues; reports and renames damaged ones."""
    checkpoint, damaged = undamaged_checkpoint(folder)
    for path in damaged if run_folder.is_first_process() else ():
        print(
            f"{path} is damaged: training continues from {checkpoint}. It is kept as "
            f"{path.with_suffix('.damaged').name}.",
            flush=True,
        )
        path.replace(path.with_suffix(".damaged"))
    return checkpoint


def _conclude(
    trainer: pl.Trainer, *, folder: Path, state: str, nimg: int, stopped_by: str | None = None
) -> None:
    """Closes the loggers, and writes the run's status."""
    for logger in trainer.loggers:
        logger.finalize("success" if state in ("finished", "stopped") else state)
    if trainer.is_global_zero:
        write_status(folder, state=state, nimg=nimg, stopped_by=stopped_by)


def _require_no_divergence(parts: Parts, *, folder: Path, nimg: int) -> None:
    """Checks a finished run for divergence by its last validation; the result is reproducible.

    A run has diverged if its error is NaN, or, from `JUDGED_FROM` images seen, if it is above the
    95 % interval of the error of G at the mean code.

    Raises:
        DivergenceError: The run has diverged; its status is set too.
    """
    last = last_values(folder / "metrics.jsonl")  # of this process or an earlier one
    names = getattr(parts.module, "judged_by", JUDGED_BY) or ()
    error, bound = [last.get(name, 0.0) for name in names] or (0.0, 0.0)
    square = last.get(f"{names[-1]}_squared", bound**2) if names else 0.0  # older runs have none
    count = max(1, len(parts.domain.val))  # type: ignore[arg-type]
    upper = bound + 1.96 * math.sqrt(max(0.0, square - bound**2) / count)
    if math.isnan(error) or math.isnan(bound) or (error > upper and nimg >= JUDGED_FROM):
        write_status(folder, state="diverged", nimg=nimg)
        raise DivergenceError(
            f"training ended at {nimg:,} images with a validation error of {error:.4f}, above that "
            f"of G at the mean code ({bound:.4f}): {folder}. Try a smaller objective.lr (a tenth) "
            "or latent.offset=w_avg."
        )
    if error > upper:
        print(f"not judged before {JUDGED_FROM:,} images: the error is above the mean image's yet")


def _report_done(parts: Parts, *, folder: Path, nimg: int) -> None:
    """Reports a run whose images were all seen already; it may have been killed at its end."""
    if run_folder.is_first_process():
        if not (folder / "metrics.csv").is_file():
            CsvLogger(folder=folder).finalize("success")
        _require_no_divergence(parts, folder=folder, nimg=nimg)
        write_status(folder, state="finished", nimg=nimg)
        print(f"finished already, at {nimg:,} images: {folder} (a larger nimg continues it)")


def _report(trainer: pl.Trainer, parts: Parts, *, folder: Path, state: str) -> None:
    if not trainer.is_global_zero:
        return
    nimg = parts.module.nimg
    if state == "finished":
        _require_no_divergence(parts, folder=folder, nimg=nimg)
    print(f"{state} at {nimg:,} images: {folder}")
    if state == "stopped":
        own = named_words(own_targets(parts.config | NOT_STORED, usual=usual_targets()))
        run = shlex.quote(f"run={folder}")
        print(as_typed(f"to continue: python train.py {run} {own}").rstrip())
    for name, value in trainer.callback_metrics.items():
        if not name.endswith("_squared"):
            print(f"  {name} {float(value):.4f}")


def config_of_run(config: dict[str, Any], *, given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The stored configuration of ``run=RUN``, with the keys that may change from this command.

    Args:
        config: The resolved configuration of this command, as plain values.
        given: Keys that the command line sets, see `given_keys`.

    Raises:
        ConfigError: No such run, or a key that may not change.
    """
    folder = run_folder.find_run(config["run"], outputs=config["system"]["outputs"])
    stored = stored_config(folder, classes=config["classes"])
    words = {word for below in given.values() for word in below}
    moved = words & set(run_folder.MAY_MOVE)
    others = {top for top, below in given.items() if set(below) - moved}
    refused = sorted(others - set(MAY_CHANGE) | words & set(SCIENCE))
    if refused:
        raise ConfigError(
            f"run={config['run']} continues as it was started; {', '.join(refused)} cannot change. "
            f"Leave that out, or start another run without run=. May change: "
            f"{', '.join(MAY_CHANGE[1:])}; and the places of the same files: "
            f"{', '.join(run_folder.MAY_MOVE)}."
        )
    precision, tf32 = stored["trainer"]["precision"], stored["system"].get("tf32", False)
    for key in moved:
        run_folder.require_file(stored, key, run=config["run"])
    run_folder.take_keys(stored, config, words)
    # A whole group (trainer=ddp, system=mine) would set these two as well.
    stored["trainer"]["precision"], stored["system"]["tf32"] = precision, tf32
    return stored | {key: config[key] for key in ("run", "classes")}


def require_same_contents(
    config: dict[str, Any],
    contents: Mapping[str, str],
    *,
    folder: Path,
    stored: Mapping[str, Any] | None = None,
) -> None:
    """Refuses to continue a run with other images or networks than it started with.

    Args:
        config: The run's configuration.
        contents: The hashes of its present inputs, by top-level key.
        folder: The run's folder.
        stored: The configuration before this command, with the earlier paths of the inputs.

    Raises:
        ConfigError: Names what has changed, and the command that starts a new run.
    """
    before = run_folder.read_contents(folder) or _contents_of_weights(folder)
    changed = [key for key in {**before, **contents} if before.get(key) != contents.get(key)]
    if not before or not changed:
        return
    told = "; ".join(
        f"{key} ({_place(key, config)}) was {before.get(key, 'not there')} and is "
        f"{contents.get(key, 'not there')}{_before(key, config, stored)}"
        for key in changed
    )
    words = shlex.split(run_folder.first_command(folder) or "train.py")
    for key in ("data", "generator"):  # the paths that this command uses
        words = [_place(key, config) if w.startswith(f"{key}.path=") else w for w in words]
    first = shlex.join(words)
    raise ConfigError(
        f"the inputs of run={folder} have changed: {told}. A run continues with the inputs that it "
        "started with: restore them. To train with the present ones, start another run: "
        f"{'' if first.startswith('idinvert-') else 'python '}{first}"
    )


def _before(key: str, config: dict[str, Any], stored: Mapping[str, Any] | None) -> str:
    """The run's path of an input, as text, if it differs from this command's."""
    if stored is None or (before := _place(key, dict(stored))) == _place(key, config):
        return ""
    return f" (the run has {before})"


def _place(key: str, config: dict[str, Any]) -> str:
    """The setting that selects a network or images, as text."""
    node = config.get(key) or {}
    if key == "discriminator" and node.get("init") == "generator":
        return f"beside generator.path={config['generator']['path']}"
    if key == "perceptual":
        key, node = "perceptual.network", node.get("network") or {}
    return f"{key}={node['_target_']}" if node.get("path") is None else f"{key}.path={node['path']}"


def _contents_of_weights(folder: Path) -> dict[str, str]:
    """The input hashes from the weights of an older run without the file; empty without weights."""
    for path in sorted((folder / "weights").glob("*.safetensors")):
        return read_header(path, key="run").provenance.get("stands_on", {})
    return {}


if __name__ == "__main__":
    from idinvert.cli import commands  # imports this module under its own name

    commands.train()
