"""Re-estimates BatchNorm statistics of the encoder that a run validates and saves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import Dataset

from idinvert.data.convert import to_float
from idinvert.data.datamodule import collate, permutation
from idinvert.errors import ConfigError
from idinvert.networks import batch_norm


class Recalibration(Callback):
    """Re-estimates the statistics of E's BatchNorms for validations and saved weights.

    In training they are running averages over earlier weights, in small batches. E is validated
    and saved with the statistics of its current weights on ``count`` training images, the first of
    epoch 0, unmirrored. Training itself, and its checkpoints, keep the running averages, so a run
    continues bit for bit as without re-estimation. Ranks share the images and add their sums.

    Args:
        images: The training images.
        count: Number of images used; 0 leaves E unchanged.
        seed: Seed of the order of images.

    Raises:
        ConfigError: ``count`` is one or negative.
    """

    def __init__(self, *, images: Dataset[dict[str, Any]], count: int, seed: int) -> None:
        if count < 0 or count == 1:
            raise ConfigError(
                f"got recalibrate={count}, expected the number of training images to estimate "
                "BatchNorm's statistics on, 2 or more, or 0 to keep those of training."
            )
        length = len(images)  # type: ignore[arg-type]
        self.images, self.count = images, min(count, length)
        self.order = permutation(length, seed=seed, epoch=0)[: self.count].tolist()
        self._found: tuple[int, batch_norm.Statistics] | None = None  # with its images seen
        self._kept: batch_norm.Statistics | None = None  # training's own, during a validation

    def acts_on(self, module: Any) -> bool:
        """Returns whether the module has an encoder with statistics to estimate."""
        encoder = getattr(module, "encoder", None)
        return self.count > 1 and encoder is not None and bool(batch_norm.batch_norms(encoder))

    def on_validation_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Sets the statistics with which E would be saved."""
        if self.acts_on(module):
            self._kept = batch_norm.running_statistics(module.encoder)
            batch_norm.set_statistics(module.encoder, self._statistics(trainer, module))

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Restores training's own statistics, before a checkpoint is written."""
        if self._kept is not None:
            batch_norm.set_statistics(module.encoder, self._kept)
            self._kept = None

    @contextmanager
    def applied(self, trainer: pl.Trainer, module: Any) -> Iterator[None]:
        """Context in which the module has re-estimated statistics; every rank must enter."""
        if not self.acts_on(module):
            yield
            return
        kept = batch_norm.running_statistics(module.encoder)
        batch_norm.set_statistics(module.encoder, self._statistics(trainer, module))
        try:
            yield
        finally:
            batch_norm.set_statistics(module.encoder, kept)

    @torch.no_grad()
    def _statistics(self, trainer: pl.Trainer, module: Any) -> batch_norm.Statistics:
        """Returns the mean over all batches of all ranks; estimated once per state of weights."""
        if self._found is None or self._found[0] != module.nimg:
            parts = batch_norm.batches(self.count)
            mine = parts[trainer.global_rank :: trainer.world_size]
            inputs = (self._encoder_images(module, part) for part in mine)
            with trainer.precision_plugin.forward_context():
                sums = batch_norm.sum_of_statistics(module.encoder, module.encoder, inputs)
            if trainer.world_size > 1:
                sums = {name: _over_ranks(value) for name, value in sums.items()}
            self._found = module.nimg, batch_norm.mean_of(sums, len(parts))
        return self._found[1]

    def _encoder_images(self, module: Any, part: range) -> Tensor:
        """Returns E's training images (the objective's own if it makes any), ``[N, 3, R, R]``."""
        batch = collate([self.images[self.order[index]] for index in part])
        if hasattr(module, "synthetic_images"):
            return module.synthetic_images(batch["id"])
        return to_float(batch["image"].to(module.device)).to(module.dtype)


def _over_ranks(value: Tensor) -> Tensor:
    torch.distributed.all_reduce(value)
    return value
