"""Mean of a paired metric over a set that comes in batches."""

from collections.abc import Callable

from torch import Tensor


class RunningMean:
    """Class shell around a paired metric: sums in float64, so that the batch size does not matter.

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
        self.total, self.count = 0.0, 0

    def update(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Add a batch of pairs, float `[N, 3, H, W]`; returns the values `[N]` of its images."""
        values = self.function(outputs, targets)
        self.total += values.double().sum().item()
        self.count += len(values)
        return values

    def compute(self) -> float:
        """Mean over all images; NaN if there was none."""
        return self.total / self.count if self.count else float("nan")
