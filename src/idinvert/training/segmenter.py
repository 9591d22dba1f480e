"""Training of the segmenter on the exact masks of a miniature domain."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

from idinvert.annotations import PositiveFloat, Weight
from idinvert.data.convert import to_float
from idinvert.metrics.segmentation import confusion, iou
from idinvert.networks.segmenter import Segmenter
from idinvert.training.objective import Objective, adam
from idinvert.training.schedules import Schedule


class Confusion(Metric):
    """Confusion matrix of the pixels of two masks, over all images of all ranks.

    Args:
        classes: C, the number of classes.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        zero = torch.zeros(classes, classes, dtype=torch.float64)
        self.add_state("counts", zero, dist_reduce_fx="sum")

    def update(self, masks: Tensor, other: Tensor) -> None:
        """Adds the masks of a batch, each ``[N, R, R]``."""
        self.counts = self.counts + confusion(masks, other, classes=len(self.counts))

    def compute(self) -> Tensor:
        """Returns the counts, float64 ``[C, C]``."""
        return self.counts


class SegmenterTraining(Objective):
    """Supervised training on exact masks: the cross-entropy of each pixel's class.

    Args:
        segmenter: The network.
        lr: Adam's learning rate.
        schedule: Factor on the learning rate by images seen.
        noise: Standard deviation of the Gaussian noise added to training images (in the
            ``[-1, 1]`` range), because samples of a GAN are noisier than rendered images.
        mirror: Flip images and masks left to right with probability one half.
        seed: Seed of noise and flips.
        accumulate: Micro-batches per step, to save memory.
    """

    def __init__(
        self,
        *,
        segmenter: Segmenter,
        lr: PositiveFloat,
        schedule: Schedule,
        noise: Weight,
        mirror: bool = False,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        super().__init__(lr=lr, schedule=schedule, mirror=mirror, seed=seed, accumulate=accumulate)
        self.segmenter = segmenter.train().requires_grad_(True)
        self.noise = noise
        self.confusion = Confusion(classes=len(segmenter.classes))

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """Networks that a finished run saves in its ``weights`` folder, by name."""
        return {"segmenter": self.segmenter}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Returns Adam with torch's default betas."""
        return [adam(self.segmenter, lr=self.lr, betas=self.betas)]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Runs one step and returns the detached loss."""
        (optimizer,) = self.scheduled_optimizers()
        images = self.with_noise(self.training_images(batch), self.noise)
        masks = self.mirrored(batch["mask"][:, None])[:, 0]
        terms = self.descend(
            optimizer, self._loss, images, masks, parts=self.accumulate, graph="segmenter"
        )
        self.clock.nimg += len(images) * self.trainer.world_size
        return terms

    def _loss(self, images: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = cross_entropy(self.segmenter(images), masks.long())
        return loss, {"loss/total": loss}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Counts the pixels by true and by predicted class."""
        read = self.segmenter.segment(to_float(batch["image"]).to(self.dtype))
        self.confusion.update(batch["mask"], read)

    def on_validation_epoch_end(self) -> None:
        """Logs the IoU of each class that occurs, over all pixels of all images, and their mean."""
        values = iou(self.confusion.compute())
        self.confusion.reset()
        pairs = zip(self.segmenter.classes, values, strict=True)
        found = {f"val/iou_{name}": value for name, value in pairs if value.isfinite()}
        found["val/iou"] = values.nanmean()
        for name, value in found.items():
            self.log(name, value, on_epoch=True, logger=False)
