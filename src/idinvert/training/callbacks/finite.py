"""Training that leaves the finite numbers stops at once and says what to try."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from idinvert.errors import DivergenceError
from idinvert.training.callbacks.folder import latest_checkpoint


def require_finite(outputs: Any, *, nimg: int, newest: Path | None) -> None:
    """Raises if any term of a training step is infinite or not a number.

    Raises:
        DivergenceError: Names the terms, the last good checkpoint and what to try.
    """
    names = list(outputs)
    finite = torch.stack([outputs[name].float() for name in names]).isfinite().tolist()
    broken = [name for name, good in zip(names, finite, strict=True) if not good]
    if broken:
        raise _diverged(", ".join(broken), nimg=nimg, newest=newest)


def require_finite_weights(
    networks: dict[str, nn.Module], *, nimg: int, newest: Path | None
) -> None:
    """Raises if a weight is infinite or not a number: the step after a finite loss can do that.

    Raises:
        DivergenceError: Names the network, the last good checkpoint and what to try.
    """
    for role, network in networks.items():
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise _diverged(f"weights of the {role}", nimg=nimg, newest=newest)


def _diverged(what: str, *, nimg: int, newest: Path | None) -> DivergenceError:
    return DivergenceError(
        f"training diverged at {nimg:,} images: {what} not finite. The last good checkpoint is "
        f"{newest}. Try a smaller objective.lr (a tenth), encoder.backbone.variant=v2, a larger "
        "batch_size, or trainer.precision=32-true."
    )


class StopWhenNotFinite(Callback):
    """Looks at the losses every ``every`` batches (each look waits for the device)."""

    def __init__(self, *, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Raises ``DivergenceError`` before any checkpoint of this batch is written."""
        if batch_idx % self.every == 0:
            newest = latest_checkpoint(self.folder / "checkpoints")
            require_finite(outputs, nimg=module.nimg, newest=newest)
