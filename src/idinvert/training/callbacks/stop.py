"""Stops at the run's number of images, or at the request of the user or the cluster."""

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from idinvert.training.callbacks.checkpoint import diverged, latest_checkpoint

PEOPLE = (signal.SIGINT, signal.SIGTERM)
"""Signals whose second occurrence ends the process at once."""
SIGNALS = (*PEOPLE, signal.SIGUSR1, signal.SIGUSR2)
"""The same, and the signals by which Slurm (with ``--signal``) and submitit announce the end."""
TIME_IS_UP = 1
"""A signal number that is not handled here, used for the time limit."""


class StopAtNimg(Callback):
    """Ends the fit once ``nimg`` images have been seen, or ``max_seconds`` have passed.

    The first Ctrl-C (or SIGTERM, SIGUSR1, SIGUSR2) lets the running step finish, so that a
    checkpoint is saved; a second Ctrl-C or SIGTERM ends the process at once. A signal to one rank
    stops all ranks after the same step.

    Args:
        nimg: Images after which training is complete.
        max_seconds: Seconds of training after which it stops early; ``None`` for no time limit.

    Attributes:
        interrupted_by: Name of the signal that stopped the run, on every rank.
    """

    def __init__(self, *, nimg: int, max_seconds: float | None = None) -> None:
        self.nimg, self.max_seconds = nimg, max_seconds
        self.interrupted_by: str | None = None
        self._caught = 0
        self._speaks = True
        self._before: dict[int, Any] = {}
        self._started = 0.0

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Saves the signal handlers (in the main thread; elsewhere the caller handles signals)."""
        self._started = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Installs the signal handlers; a run that has all its images stops before a step.

        This must not happen earlier: Lightning has just installed its own SIGTERM handler, which
        ends a fit without saving.
        """
        self._speaks = trainer.is_global_zero
        for number in self._before:
            signal.signal(number, self._ask_to_stop)
        if module.nimg >= self.nimg:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Asks Lightning to stop; all ranks agree on it."""
        reason = self._caught
        if self.max_seconds is not None and time.monotonic() - self._started >= self.max_seconds:
            reason = reason or TIME_IS_UP
        if trainer.world_size > 1:
            heard = torch.tensor(reason, device=trainer.strategy.root_device)
            reason = int(trainer.strategy.reduce(heard, reduce_op="max"))
        if reason > TIME_IS_UP:
            self.interrupted_by = signal.Signals(reason).name
        if reason or module.nimg >= self.nimg:
            trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, module: Any, stage: str) -> None:
        """Restores the signal handlers."""
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        """Restores the signal handlers; Lightning does not call `teardown` after an error."""
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before = {}

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        again = ""
        if number in PEOPLE:
            signal.signal(number, self._before.get(number) or signal.SIG_DFL)
            again = "; once more to quit now"
        if self._speaks and not self._caught:
            name = signal.Signals(number).name
            print(f"\n{name}: finishing this step and saving{again}.", flush=True)
        self._caught = self._caught or number


def cluster_plugins() -> list[ClusterEnvironment]:
    """Returns Trainer plugins for the cluster that this process runs on.

    Under Slurm, Lightning would save and requeue the job by itself on a signal, in addition to
    submitit or ``scontrol requeue``, and resume from its own checkpoint (decision 10). torchrun,
    and a machine without either, are detected by Lightning.
    """
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]


def require_finite(outputs: Any, *, nimg: int, newest: Path | None) -> None:
    """Raises if any term of a training step is infinite or NaN.

    Raises:
        DivergenceError: Names the terms, the last good checkpoint and remedies.
    """
    names = list(outputs)
    finite = torch.stack([outputs[name].float() for name in names]).isfinite().tolist()
    broken = [name for name, good in zip(names, finite, strict=True) if not good]
    if broken:
        raise diverged(", ".join(broken), nimg=nimg, newest=newest)


class StopWhenNotFinite(Callback):
    """Checks the losses every ``every`` batches (each check waits for the device)."""

    def __init__(self, *, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raises ``DivergenceError`` before any checkpoint of this batch is written."""
        if batch_idx % self.every == 0:
            newest = latest_checkpoint(self.folder / "checkpoints")
            require_finite(outputs, nimg=module.nimg, newest=newest)
