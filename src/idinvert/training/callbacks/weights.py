"""The weight files of a run: its latest networks, and the encoder with the lowest error."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from idinvert.checkpoints.release import fingerprint, read_header, save_network
from idinvert.durable import written_whole
from idinvert.errors import CheckpointError
from idinvert.training.callbacks.recalibrate import Recalibration

JUDGED_BY = "val/mse"
_OF_BEST = "val_mse"
"""Provenance key of the validation error of a file's weights."""


class RunWeights:
    """Writes ``weights/*.safetensors`` and ``weights/best/encoder.safetensors``.

    The best is the checkpoint with the lowest ``val/mse`` among those with a validation; a run
    without this metric (a GAN) has none. The error is stored in the file, so that a resumed run
    knows it.

    Args:
        folder: The run's folder.
        provenance: Provenance of the files.
        recalibration: Re-estimates E's BatchNorm statistics for the files; None for no change.

    Attributes:
        judged: Images seen at the last validation, and its error.
    """

    def __init__(
        self,
        *,
        folder: Path,
        provenance: dict[str, Any],
        recalibration: Recalibration | None = None,
    ) -> None:
        self.folder = Path(folder) / "weights"
        self.best = self.folder / "best" / "encoder.safetensors"
        self.provenance, self.recalibration = provenance, recalibration
        self.judged = -1, float("inf")

    def files(self) -> list[Path]:
        """Returns the existing files."""
        return sorted(self.folder.rglob("*.safetensors"))

    def write(self, trainer: pl.Trainer, module: Any, *, fresh: bool, damaged: set[Path]) -> None:
        """Writes the files of the module's weights; every rank must call it.

        Args:
            trainer: Trainer of the module.
            module: The module being trained.
            fresh: Whether the weights have just been trained. Otherwise only files are written
                that are missing, damaged or of an earlier checkpoint.
            damaged: Files that do not match their checksums.
        """
        nimg, error = self.judged
        facts = self.provenance | {"nimg": module.nimg}
        facts |= {_OF_BEST: error} if nimg == module.nimg else {}
        roles = [
            role
            for role in module.trained_networks
            if fresh or self._path(role) in damaged or _nimg_of(self._path(role)) != module.nimg
        ]
        roles = trainer.strategy.broadcast(roles)
        with ExitStack() as meanwhile:
            if roles and self.recalibration is not None and self.recalibration.acts_on(module):
                meanwhile.enter_context(self.recalibration.applied(trainer, module))
                facts["recalibrated"] = {"images": self.recalibration.count}
            for role in roles if trainer.is_global_zero else ():
                network = module.trained_networks[role]
                save_network(network, self._path(role), provenance=facts, role=role)
        if not trainer.is_global_zero:
            return
        if self.best in damaged:
            print(f"{self.best} is damaged; the next best takes its place", flush=True)
            self.best.unlink(missing_ok=True)
        if nimg == module.nimg and "encoder" in module.trained_networks:
            self._copy_if_best(error)

    def hand_on(self, trainer: pl.Trainer, module: Any) -> None:
        """Passes the last and the best to loggers with ``log_weights``: at most two uploads."""
        roles = list(module.trained_networks)
        for role in ["encoder"] if "encoder" in roles else roles:
            files = {"last": self._path(role)}
            if role == "encoder" and self.best.is_file():
                files = {"best": self.best} | files
            shas = {alias: fingerprint(path) for alias, path in files.items()}
            for alias, path in files.items():
                same = [other for other in files if shas[other] == shas[alias]]
                for logger in trainer.loggers if same[0] == alias else ():
                    if hasattr(logger, "log_weights"):
                        facts = read_header(path).provenance
                        logger.log_weights(role, path, aliases=same, sha=shas[alias], facts=facts)

    def _path(self, role: str) -> Path:
        return self.folder / f"{role}.safetensors"

    def _copy_if_best(self, error: float) -> None:
        """Copies the encoder that was just saved, if no earlier one had a lower error."""
        if error < self._least():
            with written_whole(self.best) as temporary:
                shutil.copyfile(self._path("encoder"), temporary)

    def _least(self) -> float:
        """Returns the error of the best weights; infinite if there are none."""
        try:
            facts = read_header(self.best).provenance
            note = self.best.with_name(f"{_OF_BEST}.txt")  # of runs before the file had it
            return float(facts[_OF_BEST] if _OF_BEST in facts else note.read_text("utf-8"))
        except (CheckpointError, OSError, ValueError):
            return float("inf")


def _nimg_of(path: Path) -> int | None:
    """Returns the images seen by a weight file's network; ``None`` if it cannot be read."""
    try:
        return read_header(path).provenance.get("nimg")
    except CheckpointError:
        return None
