"""The bar a user watches: images seen, images a second, time left, the losses."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from idinvert.training.callbacks.history import History


class Progress(Callback):
    """A bar over images on a terminal; one line every ``line_seconds`` where output is a file.

    Args:
        nimg: Images after which training is complete.
        history: Whose last row is shown.
        max_seconds: A limit in time. If it comes first, the bar ends at the images that training
            will have seen by then, so that its time left is true.
        line_seconds: Seconds between two lines when output is not a terminal.
    """

    def __init__(
        self,
        *,
        nimg: int,
        history: History,
        max_seconds: float | None = None,
        line_seconds: float = 15.0,
    ) -> None:
        self.nimg, self.history = nimg, history
        self.max_seconds, self.line_seconds = max_seconds, line_seconds
        self._bar: tqdm | None = None
        self._started, self._first = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Opens the bar where the run stands."""
        self._started, self._first = time.monotonic(), module.nimg
        if trainer.is_global_zero:
            terminal = sys.stderr.isatty()
            self._bar = tqdm(
                total=self.nimg,
                initial=module.nimg,
                unit="img",
                unit_scale=True,
                desc="training",
                mininterval=0.5 if terminal else self.line_seconds,
                maxinterval=1.0 if terminal else 2 * self.line_seconds,
                dynamic_ncols=terminal,
                ascii=not terminal,
                smoothing=0.3 if self.max_seconds is None else 0,  # the rate of `_expected`
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar."""
        if self._bar is None:
            return
        row = self.history.last_row
        shown = {
            name.removeprefix("loss/"): f"{row[name]:.3g}"
            for name in row
            if name.startswith("loss/")
        }
        if self.max_seconds is not None:
            self._bar.total = self._expected(module.nimg, limit=self.max_seconds)
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(module.nimg - self._bar.n)

    def _expected(self, nimg: int, *, limit: float) -> int:
        """Images that training will have seen at its end, at the rate so far."""
        elapsed = max(time.monotonic() - self._started, 1e-6)
        rate = (nimg - self._first) / elapsed  # images a second
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
