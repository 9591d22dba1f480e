"""Stops at the run's number of images, or when the user or the cluster asks."""

import signal
import threading
import time
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopAtNimg(Callback):
    """Ends the fit once ``nimg`` images have been seen, or ``max_seconds`` have passed.

    The first Ctrl-C (or SIGTERM) finishes the step that is running, so that a checkpoint is saved;
    a second one ends the process at once.

    Args:
        nimg: Images after which training is complete.
        max_seconds: Seconds of training after which it stops short; ``None`` for no such limit.
    """

    def __init__(self, *, nimg: int, max_seconds: float | None = None) -> None:
        self.nimg, self.max_seconds = nimg, max_seconds
        self.interrupted_by: str | None = None
        self._before: dict[int, Any] = {}
        self._started = 0.0

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Remembers who handles signals (in the main thread; elsewhere the caller does)."""
        self._started = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Takes over SIGINT and SIGTERM; a run that has all its images stops before a step.

        Not before this hook: Lightning has just put a SIGTERM handler of its own in place, which
        ends a fit without saving.
        """
        for number in self._before:
            signal.signal(number, self._ask_to_stop)
        if module.nimg >= self.nimg:
            trainer.should_stop = True

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Asks Lightning to stop; all ranks agree on it."""
        stop = self.interrupted_by is not None
        if self.max_seconds is not None:
            stop |= time.monotonic() - self._started >= self.max_seconds
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop or module.nimg >= self.nimg:
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
        self.interrupted_by = signal.Signals(number).name
        signal.signal(number, self._before.get(number) or signal.SIG_DFL)
        print(f"\n{self.interrupted_by}: finishing this step and saving; once more to quit now.")
