"""The weights of the least validation error, and what of a run's weights its loggers keep."""

import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from idinvert.checkpoints.release import fingerprint, read_header

BEST = "best"
JUDGED_BY = "val/mse"


class BestWeights(Callback):
    """Keeps ``weights/best/encoder.safetensors``, and hands the last and the best to the loggers.

    Of the checkpoints at which a validation was made, the best is the one of least ``val/mse``; a
    run that is not judged by it (a GAN) has none. What was best is read from the file itself, so
    that a run goes on with it. Loggers with ``log_weights`` get the files when training ends: two
    uploads a run at most, however many validations it had.

    Args:
        folder: The run's folder.
    """

    def __init__(self, *, folder: Path) -> None:
        self.weights = Path(folder) / "weights"
        self.best = self.weights / BEST / "encoder.safetensors"
        self._judged = -1, float("inf")  # images seen at the last validation, and its error

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Copies the encoder that was just saved, if no earlier one did better.

        The checkpoint of a run's last step is written after its validation, when training ends.
        """
        error = trainer.callback_metrics.get(JUDGED_BY)
        if error is not None and "encoder" in module.trained_networks:
            self._judged = module.nimg, float(error)
            if trainer.is_global_zero:
                self._copy_if_best()

    def _copy_if_best(self) -> None:
        """Copies the saved encoder where it is the one that was validated last, and the best."""
        nimg, error = self._judged
        newest = self.weights / "encoder.safetensors"
        if self._facts(newest).get("nimg") != nimg or not error < self._least():
            return
        self.best.parent.mkdir(parents=True, exist_ok=True)
        partial = self.best.with_suffix(".partial")
        shutil.copyfile(newest, partial)
        partial.replace(self.best)
        self._note.write_text(f"{error!r}\n", encoding="utf-8")

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Hands the weights on; the checkpoint of this moment has been written before."""
        if not trainer.is_global_zero:
            return
        self._copy_if_best()
        roles = list(module.trained_networks)
        for role in ["encoder"] if "encoder" in roles else roles:
            last = self.weights / f"{role}.safetensors"
            if not last.is_file():
                continue
            files = {"last": last}
            if role == "encoder" and self.best.is_file():
                files = {"best": self.best} | files
            shas = {alias: fingerprint(path) for alias, path in files.items()}
            for alias, path in files.items():
                same = [other for other in files if shas[other] == shas[alias]]
                if same[0] == alias:
                    _hand_on(trainer, role, path, aliases=same, sha=shas[alias])

    @property
    def _note(self) -> Path:
        """The validation error of the best weights."""
        return self.best.with_name("val_mse.txt")

    def _least(self) -> float:
        try:
            return float(self._note.read_text(encoding="utf-8")) if self.best.is_file() else 1e30
        except (OSError, ValueError):
            return 1e30

    def _facts(self, path: Path) -> dict[str, Any]:
        return read_header(path).provenance if path.is_file() else {}


def _hand_on(trainer: pl.Trainer, role: str, path: Path, *, aliases: list[str], sha: str) -> None:
    facts = read_header(path).provenance
    for logger in trainer.loggers:
        if hasattr(logger, "log_weights"):
            logger.log_weights(role, path, aliases=aliases, sha=sha, facts=facts)
