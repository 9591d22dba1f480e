"""Logs one row of averages per tick, with images seen as x-axis."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from idinvert.training.clock import passed


class History(Callback):
    """Averages the terms of the steps over ``every_nimg`` images and logs a row to every logger.

    Each row has ``nimg``, the averaged terms, the learning rates and images per second; the
    loggers get ``nimg`` as their step. Validation metrics are logged in separate rows.

    Args:
        every_nimg: Images between two rows.
    """

    def __init__(self, *, every_nimg: int) -> None:
        self.every_nimg = every_nimg
        self.last_row: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._since = 0.0
        self._images = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the partial sums, so that a resumed run logs the same rows as an unbroken one.

        On several ranks, a checkpoint holds those of rank 0: the first row after it is approximate.
        """
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the partial sums."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Starts the measurement of images per second."""
        self._since, self._images = time.monotonic(), 0
        self._sums = {name: value.to(module.device) for name, value in self._sums.items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds a step; logs the row at the end of a tick."""
        for name, value in outputs.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        step = len(batch["image"]) * trainer.world_size
        self._images += step
        if passed(module.nimg, step=step, every=self.every_nimg):
            self._write(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Logs the validation row, if the validation is part of training."""
        row = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        if row and not trainer.sanity_checking:
            for logger in trainer.loggers:
                logger.log_metrics({"nimg": module.nimg} | row, step=module.nimg)

    def _write(self, trainer: pl.Trainer, module: Any) -> None:
        row = {
            name: float(self._reduced(trainer, value)) / self._counts[name]
            for name, value in self._sums.items()
        }
        seconds = max(time.monotonic() - self._since, 1e-9)
        for index, optimizer in enumerate(trainer.optimizers):
            row[f"lr/{index}"] = optimizer.param_groups[0]["lr"]
        row["images_per_second"] = self._images / seconds
        self.last_row = {"nimg": module.nimg} | row
        for logger in trainer.loggers:
            logger.log_metrics(self.last_row, step=module.nimg)
        self._sums, self._counts = {}, {}
        self._since, self._images = time.monotonic(), 0

    def _reduced(self, trainer: pl.Trainer, value: Tensor) -> Tensor:
        if trainer.world_size == 1:
            return value
        return trainer.strategy.reduce(value, reduce_op="mean")
