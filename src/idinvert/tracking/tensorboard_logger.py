"""Lightning's TensorBoard logger with images seen as the x-axis, and panels as pictures."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from idinvert.errors import ConfigError


class NimgTensorBoardLogger(TensorBoardLogger):
    """Writes events to ``<run>/tensorboard``; all rows and pictures stand at ``nimg``.

    Args:
        folder: The run's folder.
        options: Of TensorBoard's ``SummaryWriter``.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(save_dir=folder, name="tensorboard", version="", **options)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's ``config.yaml`` says it all."""

    @rank_zero_only
    def save(self) -> None:
        """Flushes; Lightning would write a file of hyperparameters as well."""
        self.experiment.flush()

    @rank_zero_only
    def log_image(
        self, key: str, images: list[np.ndarray], step: int | None = None, **kwargs: Any
    ) -> None:
        """Logs uint8 pictures ``[H, W, 3]`` of one size, one below the other."""
        self.experiment.add_image(key, np.concatenate(images), step, dataformats="HWC")


def require_tensorboard() -> None:
    """Refuses ``logger=tensorboard`` before any work where it is not installed.

    Raises:
        ConfigError: Names the extra.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("logger=tensorboard needs an extra: pip install 'idinvert[tensorboard]'")
