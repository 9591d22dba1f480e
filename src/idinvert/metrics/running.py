"""A paired metric over a set that comes in batches."""

from collections.abc import Callable

import torch
from torch import Tensor


class RunningMean:
    """Class shell around a paired metric: a float64 mean, so that the batch size does not matter.

    Args:
        function: `(outputs, targets) -> [N]`, for example `idinvert.metrics.mse.mse`.

    Example:
        >>> mean = RunningMean(mse)
        >>> mean.update(outputs, targets)
        >>> mean.compute()
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._values: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Add a batch of pairs, float `[N, 3, H, W]`; returns the values `[N]` of its images."""
        values = self.function(outputs, targets)
        self._values.append(values.detach().double().cpu())
        return values

    @property
    def values(self) -> Tensor:
        """float64 `[n]`, one an image."""
        return torch.cat(self._values) if self._values else torch.empty(0, dtype=torch.float64)

    def compute(self) -> float:
        """Mean over all images; NaN if there was none."""
        return self.values.mean().item()
