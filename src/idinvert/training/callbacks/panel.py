"""Image panels of training progress, always of the same images under the same key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torchvision.utils import make_grid

from idinvert.tracking.pictures import log_panel, save_panel
from idinvert.training.clock import passed

Draw = Callable[[Any], dict[str, Tensor]]


class Panel(Callback):
    """Draws a panel every ``every_nimg`` images and when training ends.

    The module is drawn in evaluation mode with its current state: E's BatchNorms have training's
    running averages, while validations and saved weights have re-estimated statistics
    (`Recalibration`). So a panel may differ slightly from `val/mse` and the saved encoder.

    If the device has no memory left for drawing, the panel prints a note and is left out from then
    on, so that the run is not lost.

    Args:
        key: The panel's name, the same at every step.
        draw: Function that draws the images.
        folder: The run's folder, for PNG copies.
        every_nimg: Images seen between two drawings.
        per_row: Images per row of the PNG.
        scale: Magnification of the PNG.
    """

    def __init__(
        self, *, key: str, draw: Draw, folder: Path, every_nimg: int, per_row: int, scale: int
    ) -> None:
        self.key, self.draw, self.folder = key, draw, folder
        self.every_nimg, self.per_row, self.scale = every_nimg, per_row, scale
        self._drawn: int | None = None
        self._given_up = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draws when a multiple of ``every_nimg`` has been passed."""
        step = len(batch["image"]) * trainer.world_size
        if passed(module.nimg, step=step, every=self.every_nimg):
            self._log(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Draws the final state."""
        self._log(trainer, module)

    @torch.no_grad()
    def _log(self, trainer: pl.Trainer, module: Any) -> None:
        if not trainer.is_global_zero or self._given_up or self._drawn == module.nimg:
            return
        rows = self._rows(module)
        if rows is None:
            return
        self._drawn = module.nimg
        tiles = torch.cat(list(rows.values()))
        save_panel(self.folder, self.key, self._picture(tiles, self.per_row), nimg=module.nimg)
        pictures = {name: self._picture(tile, len(tile)) for name, tile in rows.items()}
        log_panel(trainer.loggers, self.key, pictures, nimg=module.nimg)

    def _rows(self, module: Any) -> dict[str, Tensor] | None:
        """Returns the drawn images; all parts of the module are in evaluation mode meanwhile."""
        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        try:
            return self.draw(module)
        except torch.OutOfMemoryError:
            self._given_up = True
            print(
                f"no memory is left to draw the panel {self.key}; training continues without it. "
                "Fewer images need less (logging.panel_images); logging.panel_steps=null draws no "
                "inversions.",
                flush=True,
            )
            return None
        finally:
            for part, mode in modes:  # not train(): frozen parts stay in evaluation mode
                part.training = mode

    def _picture(self, images: Tensor, per_row: int) -> np.ndarray:
        tiled = make_grid(images, nrow=per_row, padding=1, pad_value=255)
        large = tiled.repeat_interleave(self.scale, 1).repeat_interleave(self.scale, 2)
        return large.permute(1, 2, 0).numpy()
