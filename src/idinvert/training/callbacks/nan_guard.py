"""Training that leaves the finite numbers stops at once and says what to try."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from idinvert.training.callbacks.checkpoint import diverged, latest_checkpoint


def require_finite(outputs: Any, *, nimg: int, newest: Path | None) -> None:
    """Raises if any term of a training step is infinite or not a number.

    Raises:
        DivergenceError: Names the terms, the last good checkpoint and what to try.
    """
    names = list(outputs)
    finite = torch.stack([outputs[name].float() for name in names]).isfinite().tolist()
    broken = [name for name, good in zip(names, finite, strict=True) if not good]
    if broken:
        raise diverged(", ".join(broken), nimg=nimg, newest=newest)


class StopWhenNotFinite(Callback):
    """Looks at the losses every ``every`` batches (each look waits for the device)."""

    def __init__(self, *, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raises ``DivergenceError`` before any checkpoint of this batch is written."""
        if batch_idx % self.every == 0:
            newest = latest_checkpoint(self.folder / "checkpoints")
            require_finite(outputs, nimg=module.nimg, newest=newest)
