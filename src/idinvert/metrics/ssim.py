"""Structural similarity (Wang et al. 2004), as the papers of this field use it."""

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from idinvert.errors import DataError
from idinvert.metrics.inputs import paired

WINDOW = 11
SIGMA = 1.5


def ssim(outputs: Tensor, targets: Tensor) -> Tensor:
    """SSIM with an 11×11 Gaussian window, σ 1.5, on images in [0, 1].

    The mean runs over the channels and over the pixels whose window lies inside the image, as in
    the original and in scikit-image (`gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1`). torchmetrics also counts the border, where it
    mirrors the image; hence the crop here.

    Args:
        outputs: float `[N, 3, H, W]`; clamped to [-1, 1] first.
        targets: float `[N, 3, H, W]` in [-1, 1].

    Returns:
        float `[N]`, at most 1: one value an image.

    Raises:
        DataError: images smaller than the window.
    """
    outputs, targets = paired(outputs, targets)
    if min(outputs.shape[-2:]) < WINDOW:
        raise DataError(
            f"ssim needs images of at least {WINDOW} px; got {list(outputs.shape[-2:])}"
        )
    _, full = structural_similarity_index_measure(
        (outputs + 1) / 2,
        (targets + 1) / 2,
        gaussian_kernel=True,
        sigma=SIGMA,
        kernel_size=WINDOW,
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )
    border = WINDOW // 2
    return full[..., border:-border, border:-border].mean(dim=(1, 2, 3))
