"""Progress bar of training: images seen, images per second, time left, losses."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from idinvert.data import progress
from idinvert.training.callbacks.history import History


class Progress(Callback):
    """A bar over images on a terminal, occasional lines if the output is a file.

    Args:
        nimg: Images after which training is complete.
        history: History whose last row is shown.
        max_seconds: A time limit. If it comes first, the bar ends at the number of images expected
            by then, so that its time left is correct.
    """

    def __init__(
        self,
        *,
        nimg: int,
        history: History,
        max_seconds: float | None = None,
    ) -> None:
        self.nimg, self.history = nimg, history
        self.max_seconds = max_seconds
        self._bar: progress.Progress | None = None
        self._started, self._first = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Opens the bar at the run's current number of images."""
        self._started, self._first = time.monotonic(), module.nimg
        shown = trainer.is_global_zero
        self._bar = progress.Progress("training", self.nimg, done=module.nimg, shown=shown)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the bar."""
        if self._bar is None:
            return
        row, nimg = self.history.last_row, module.nimg
        losses = {name.removeprefix("loss/"): row[name] for name in row if name[:5] == "loss/"}
        if self.max_seconds is not None and nimg < self.nimg:
            self._bar.total = max(nimg + 1, self._expected(nimg, limit=self.max_seconds))
        note = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
        self._bar.update(nimg, note=note)

    def _expected(self, nimg: int, *, limit: float) -> int:
        """Returns the images expected at the end of training, at the rate so far."""
        elapsed = max(time.monotonic() - self._started, 1e-6)
        rate = (nimg - self._first) / elapsed  # images per second
        return min(self.nimg, max(nimg, round(self._first + rate * limit)))

    def teardown(self, trainer: pl.Trainer, module: Any, stage: str) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        """Closes the bar before the error is printed."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
