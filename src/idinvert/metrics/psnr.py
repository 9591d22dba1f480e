"""Peak signal-to-noise ratio."""

from torch import Tensor

from idinvert.metrics.mse import mse


def psnr(outputs: Tensor, targets: Tensor) -> Tensor:
    """10 · log10(4 / mse) of each image: the peak is 2, the width of [-1, 1].

    Args:
        outputs: float `[N, 3, H, W]`; clamped to [-1, 1] first.
        targets: float `[N, 3, H, W]` in [-1, 1].

    Returns:
        float `[N]` in dB, infinite where an image is met exactly.
    """
    return 10 * (4 / mse(outputs, targets)).log10()
