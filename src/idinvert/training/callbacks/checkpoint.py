"""Checkpoints by images seen, written so that a crash never destroys the previous one."""

import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from idinvert.durable import damaged, hash_of, read_sums, write_sums, written_whole
from idinvert.errors import CheckpointError, DivergenceError
from idinvert.training.callbacks.weights import JUDGED_BY, RunWeights
from idinvert.training.clock import passed

PATTERN = "nimg-{nimg:09d}.ckpt"


def checkpoints_in(folder: Path) -> list[Path]:
    """Returns the complete checkpoints in ``folder``, oldest first, without partial files."""
    return sorted(folder.glob("nimg-*.ckpt"))


def latest_checkpoint(folder: Path) -> Path | None:
    """Returns the newest complete checkpoint in ``folder``, or ``None``."""
    found = checkpoints_in(folder)
    return found[-1] if found else None


def nimg_of(checkpoint: Path | None) -> int:
    """Returns the images seen at a checkpoint in this folder; 0 without one."""
    return 0 if checkpoint is None else int(checkpoint.stem.removeprefix("nimg-"))


def undamaged_checkpoint(run: Path) -> tuple[Path | None, list[Path]]:
    """Returns the newest undamaged checkpoint of a run, and the damaged ones after it.

    A checkpoint is compared with its sha256 in ``SHA256SUMS``, or verified by the checksums inside
    the file if it is not listed (an older run, or a process killed right after writing it).

    Raises:
        CheckpointError: There are checkpoints, and all of them are damaged.
    """
    sums = read_sums(run)
    broken: list[Path] = []
    for path in reversed(checkpoints_in(run / "checkpoints")):
        if _is_whole(path, sha256=sums.get(str(path.relative_to(run)))):
            return path, broken
        broken.append(path)
    if broken:
        raise CheckpointError(
            f"every checkpoint of {run} is damaged: {', '.join(path.name for path in broken)}. "
            "Restore one from a backup, or delete them and give the same command again to train "
            "from the beginning."
        )
    return None, []


def is_finished(run: Path, checkpoint: Path) -> bool:
    """Returns whether ``SHA256SUMS``, written last, lists a checkpoint and all its files match."""
    return str(checkpoint.relative_to(run)) in read_sums(run) and not damaged(run)


def _is_whole(path: Path, *, sha256: str | None) -> bool:
    try:
        if sha256 is not None:
            return hash_of(path) == sha256
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError):
        return False


class _WholeFiles(TorchCheckpointIO):
    """Writes checkpoints in place; Lightning's own class copies them from ``$TMPDIR``."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint with `written_whole`."""
        with written_whole(Path(path)) as temporary, open(temporary, "wb") as file:
            torch.save(checkpoint, file)


class NimgCheckpoint(Callback):
    """Saves every ``every_nimg`` images and at the end; keeps the newest ``keep``.

    The checkpoint is written first, then ``weights`` (the trained networks in the release format),
    and last ``SHA256SUMS``, which lists all of these files. If a process is killed in between, the
    process that resumes creates the missing files from the checkpoint. If a validation is due at
    the same step, it runs first, so that a run killed between the two does not lose its row.

    Args:
        folder: The run's folder.
        every_nimg: Images between two checkpoints.
        keep: Number of checkpoints to keep.
        weights: The run's weight files.
    """

    def __init__(self, *, folder: Path, every_nimg: int, keep: int, weights: RunWeights) -> None:
        self.folder, self.checkpoints = Path(folder), Path(folder) / "checkpoints"
        self.every_nimg, self.keep, self.weights = every_nimg, keep, weights
        self._due = self._continues = False
        self._written: int | None = None  # images seen at the checkpoint that is on disk
        self._damaged: set[Path] = set()

    def state_dict(self) -> dict[str, Any]:
        """Returns the last validation, so that a resumed process knows the error of its weights."""
        return {"judged": self.weights.judged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the last validation."""
        self.weights.judged = state["judged"]

    def setup(self, trainer: pl.Trainer, module: Any, stage: str) -> None:
        """Makes Lightning write checkpoints directly to their own folder."""
        trainer.strategy.checkpoint_io = _WholeFiles()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Records that the run is resumed."""
        self._continues = True

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Creates the files that a killed process did not write after its last checkpoint."""
        target = self.checkpoints / PATTERN.format(nimg=module.nimg)
        if self._continues and target.is_file():
            self._written = module.nimg
            if str(target.relative_to(self.folder)) in read_sums(self.folder):
                self._damaged = {self.folder / name for name in damaged(self.folder)}
            self.save(trainer, module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when a multiple of ``every_nimg`` has been passed."""
        step = len(batch["image"]) * trainer.world_size
        self._due |= passed(module.nimg, step=step, every=self.every_nimg)
        if self._due and not _validates(trainer, module.nimg // step) and not trainer.should_stop:
            self.save(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Records the error, and saves if a checkpoint was waiting for the validation."""
        error = trainer.callback_metrics.get(JUDGED_BY)
        if error is not None:
            self.weights.judged = module.nimg, float(error)
        if self._due and not trainer.should_stop:
            self.save(trainer, module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Stores the networks' architectures, so that the file can be opened without its run."""
        checkpoint["idinvert_networks"] = {
            role: {"class": type(network).__name__, "architecture": network.architecture}
            for role, network in pl_module.trained_networks.items()
        }

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Saves the final state, and passes the weights to the loggers."""
        self.save(trainer, module)
        if trainer.is_global_zero:
            self.weights.hand_on(trainer, module)

    def save(self, trainer: pl.Trainer, module: Any) -> Path:
        """Writes checkpoint, weights and ``SHA256SUMS``; every rank must call it.

        Raises:
            CheckpointError: A file could not be written; earlier checkpoints are kept.
            DivergenceError: The weights are not finite; earlier checkpoints are kept.
        """
        require_finite_weights(
            module.trained_networks,
            nimg=module.nimg,
            newest=latest_checkpoint(self.checkpoints),
        )
        target = self.checkpoints / PATTERN.format(nimg=module.nimg)
        fresh = self._written != module.nimg
        try:
            if fresh:
                trainer.save_checkpoint(target, weights_only=False)
            self.weights.write(trainer, module, fresh=fresh, damaged=self._damaged)
            if trainer.is_global_zero:
                self._commit()
        except OSError as error:
            raise CheckpointError(
                f"could not write {target}: {error}. The newest complete checkpoint is "
                f"{latest_checkpoint(self.checkpoints)}. Free some space "
                f"(checkpoint.keep={self.keep}) and give the same command again to continue."
            ) from error
        self._due, self._written, self._damaged = False, module.nimg, set()
        return target

    def _commit(self) -> None:
        """Writes ``SHA256SUMS``, and deletes the checkpoints that it does not list."""
        found = checkpoints_in(self.checkpoints)
        kept = found[-self.keep :]
        write_sums(self.folder, [*kept, *self.weights.files()], known=kept[:-1])
        for old in found[: -self.keep]:
            old.unlink()


def _validates(trainer: pl.Trainer, step: int) -> bool:
    """Returns whether a validation follows right after this step."""
    images = trainer.enable_validation and sum(trainer.num_val_batches) > 0
    return bool(images) and step % int(trainer.val_check_batch or 1) == 0


def require_finite_weights(
    networks: dict[str, nn.Module], *, nimg: int, newest: Path | None
) -> None:
    """Raises if a weight is infinite or NaN, which can happen in the step after a finite loss.

    Raises:
        DivergenceError: Names the network, the last good checkpoint and remedies.
    """
    for role, network in networks.items():
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise diverged(f"weights of the {role}", nimg=nimg, newest=newest)


def diverged(what: str, *, nimg: int, newest: Path | None) -> DivergenceError:
    """Returns the error for a loss or weight that is not finite, with time and remedies."""
    there = f"The last good checkpoint is {newest}." if newest else "There is no checkpoint yet."
    return DivergenceError(
        f"training diverged at {nimg:,} images: {what} not finite. {there} Try a smaller "
        "objective.lr (a tenth), encoder.backbone.variant=v2, a larger batch_size, or "
        "trainer.precision=32-true."
    )
