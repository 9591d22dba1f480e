"""Mean squared error in [-1, 1]."""

from torch import Tensor

from idinvert.metrics.inputs import paired


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean of the squared difference over pixels and channels.

    Args:
        outputs: float `[N, 3, H, W]`; clamped to [-1, 1] first.
        targets: float `[N, 3, H, W]` in [-1, 1].

    Returns:
        float `[N]`, in [0, 4]: one value an image.
    """
    outputs, targets = paired(outputs, targets)
    return (outputs - targets).square().mean(dim=(1, 2, 3))
