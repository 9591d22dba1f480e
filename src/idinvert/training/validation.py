"""Validation figures: means over the images of all ranks, however these share them."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class MeanOverImages(Metric):
    """The mean of a figure over all images of all ranks.

    Sums and counts add up over ranks in float64, so that neither shares of unequal size nor the
    batches within them matter.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Adds the figure of each image of a batch, ``[N]``."""
        self.total = self.total + values.detach().double().sum()
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """The mean; NaN if one of the values is, or if there is none."""
        return self.total / self.count


def log_means(module: Any, figures: dict[str, Tensor]) -> None:
    """Logs the mean of each ``[N]`` over the validation images of all ranks.

    Every rank must have an image (`cli.devices.check_validation`): the sums meet at the end of the
    validation, where a rank without any would not be.

    Args:
        module: The LightningModule, in its ``validation_step``.
        figures: Name to the values of this batch's images.
    """
    if not hasattr(module, "validation_means"):
        module.validation_means = nn.ModuleDict()
    means = module.validation_means
    for name, values in figures.items():
        if name not in means:
            means[name] = MeanOverImages().to(module.device)
        means[name].update(values)
        attribute = f"validation_means.{name}"
        module.log(name, means[name], on_epoch=True, logger=False, metric_attribute=attribute)
