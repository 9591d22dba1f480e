"""Checkpoints by images seen, written so that a crash never costs the one before."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import nn

from idinvert.checkpoints.release import save_network
from idinvert.errors import CheckpointError, DivergenceError
from idinvert.training.callbacks.recalibrate import Recalibration
from idinvert.training.clock import passed

PATTERN = "nimg-{nimg:09d}.ckpt"


def checkpoints_in(folder: Path) -> list[Path]:
    """The complete checkpoints in ``folder``, oldest first, without half-written files."""
    return sorted(folder.glob("nimg-*.ckpt"))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in ``folder``, or ``None``."""
    found = checkpoints_in(folder)
    return found[-1] if found else None


def nimg_of(checkpoint: Path | None) -> int:
    """The images seen at a checkpoint of this folder; 0 without one."""
    return 0 if checkpoint is None else int(checkpoint.stem.removeprefix("nimg-"))


class NimgCheckpoint(Callback):
    """Saves every ``every_nimg`` images and at the end; keeps the newest ``keep``.

    A checkpoint is written beside its place, flushed to the disk and renamed: kill -9 or a full
    disk leaves the earlier ones as they were. The trained networks go into ``weights`` in the
    release format at the same time. Where a validation is due as well it comes first, so that a
    run killed between the two does not lose its row.

    Args:
        folder: The run's folder.
        every_nimg: Images between two checkpoints.
        keep: How many checkpoints stay.
        provenance: What the weight files say about where they come from.
        recalibration: What E's BatchNorms get for the weight files; None leaves them as they are.
    """

    def __init__(
        self,
        *,
        folder: Path,
        every_nimg: int,
        keep: int,
        provenance: dict[str, Any],
        recalibration: Recalibration | None = None,
    ) -> None:
        self.checkpoints = Path(folder) / "checkpoints"
        self.weights = Path(folder) / "weights"
        self.every_nimg, self.keep, self.provenance = every_nimg, keep, provenance
        self.recalibration = recalibration
        self._due = False

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Clears what a killed process left half written."""
        if trainer.is_global_zero:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            for stale in self.checkpoints.glob("*.partial"):
                stale.unlink(missing_ok=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when a multiple of ``every_nimg`` has been passed."""
        step = len(batch["image"]) * trainer.world_size
        self._due |= passed(module.nimg, step=step, every=self.every_nimg)
        if self._due and not _validates(trainer, module.nimg // step) and not trainer.should_stop:
            self.save(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Saves what waited for the validation."""
        if self._due and not trainer.should_stop:
            self.save(trainer, module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Says how the networks are built, so that the file can be opened away from its run."""
        checkpoint["idinvert_networks"] = {
            role: {"class": type(network).__name__, "architecture": network.architecture}
            for role, network in pl_module.trained_networks.items()
        }

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Saves where the run stopped."""
        self.save(trainer, module)

    def save(self, trainer: pl.Trainer, module: Any) -> Path:
        """Writes checkpoint and weights; every rank must call it.

        Raises:
            CheckpointError: The disk refused; the earlier checkpoints are still there.
            DivergenceError: The weights are not finite; likewise.
        """
        require_finite_weights(
            module.trained_networks,
            nimg=module.nimg,
            newest=latest_checkpoint(self.checkpoints),
        )
        target = self.checkpoints / PATTERN.format(nimg=module.nimg)
        partial = target.with_suffix(".partial")
        try:
            trainer.save_checkpoint(partial, weights_only=False)
            if trainer.is_global_zero:
                with open(partial, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(partial, target)
            self._save_weights(trainer, module)
            if trainer.is_global_zero:
                for old in checkpoints_in(self.checkpoints)[: -self.keep]:
                    old.unlink()
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise CheckpointError(
                f"could not write {target}: {error}. The newest complete checkpoint is "
                f"{latest_checkpoint(self.checkpoints)}. Free some space "
                f"(checkpoint.keep={self.keep}) and give the same command again to go on."
            ) from error
        self._due = False
        return target

    def _save_weights(self, trainer: pl.Trainer, module: Any) -> None:
        facts = self.provenance | {"nimg": module.nimg}
        with ExitStack() as meanwhile:
            if self.recalibration is not None and self.recalibration.acts_on(module):
                meanwhile.enter_context(self.recalibration.applied(trainer, module))
                facts["recalibrated"] = {"images": self.recalibration.count}
            if not trainer.is_global_zero:
                return
            self.weights.mkdir(parents=True, exist_ok=True)
            for role, network in module.trained_networks.items():
                path = self.weights / f"{role}.safetensors"
                save_network(network, path, provenance=facts, role=role)


def _validates(trainer: pl.Trainer, step: int) -> bool:
    """Whether a validation comes right after this step."""
    images = trainer.enable_validation and sum(trainer.num_val_batches) > 0
    return bool(images) and step % int(trainer.val_check_batch or 1) == 0


def require_finite_weights(
    networks: dict[str, nn.Module], *, nimg: int, newest: Path | None
) -> None:
    """Raises if a weight is infinite or not a number: the step after a finite loss can do that.

    Raises:
        DivergenceError: Names the network, the last good checkpoint and what to try.
    """
    for role, network in networks.items():
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise diverged(f"weights of the {role}", nimg=nimg, newest=newest)


def diverged(what: str, *, nimg: int, newest: Path | None) -> DivergenceError:
    """The error for a loss or weight that is not finite: what, when, what to try."""
    return DivergenceError(
        f"training diverged at {nimg:,} images: {what} not finite. The last good checkpoint is "
        f"{newest}. Try a smaller objective.lr (a tenth), encoder.backbone.variant=v2, a larger "
        "batch_size, or trainer.precision=32-true."
    )
