"""Stops at the run's number of images, or when the user or the cluster asks."""

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
"""Signals of which a second one ends the process at once."""
SIGNALS = (*PEOPLE, signal.SIGUSR1, signal.SIGUSR2)
"""And those with which Slurm (as told by ``--signal``) and submitit announce the end."""
TIME_IS_UP = 1
"""Among the numbers of signals, that of none that is listened to."""


class StopAtNimg(Callback):
    """Ends the fit once ``nimg`` images have been seen, or ``max_seconds`` have passed.

    The first Ctrl-C (or SIGTERM, SIGUSR1, SIGUSR2) finishes the step that is running, so that a
    checkpoint is saved; a second Ctrl-C or SIGTERM ends the process at once. A signal to one rank
    stops all, after the same step.

    Args:
        nimg: Images after which training is complete.
        max_seconds: Seconds of training after which it stops short; ``None`` for no such limit.

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
        """Remembers who handles signals (in the main thread; elsewhere the caller does)."""
        self._started = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Takes over the signals; a run that has all its images stops before a step.

        Not before this hook: Lightning has just put a SIGTERM handler of its own in place, which
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
        """Gives the signals back."""
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        """Gives the signals back; Lightning tears nothing down after an error."""
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
    """What a Trainer must be told about the cluster that this process runs on.

    Under Slurm, Lightning would save and queue the job again on its own when a signal comes, beside
    submitit or ``scontrol requeue``, and take up a checkpoint of its own making
    (decision 10). torchrun, and a machine without either, it recognises by itself.
    """
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]


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
