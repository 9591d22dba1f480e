"""Metrics of image pairs, with one value per image: MSE, PSNR and SSIM.

All take outputs, float `[N, 3, H, W]`, which are first clamped to [-1, 1], and targets, float
`[N, 3, H, W]` in [-1, 1]; other inputs raise a DataError.
"""

import torch
from torch import Tensor

from idinvert.errors import DataError

WINDOW = 11
"""Side of SSIM's Gaussian window in pixels."""
SIGMA = 1.5


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared difference over pixels and channels.

    Returns:
        float `[N]`, in [0, 4]: one value per image.
    """
    outputs, targets = paired(outputs, targets)
    return (outputs - targets).square().mean(dim=(1, 2, 3))


def psnr(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 10 · log10(4 / mse) of each image: the peak is 2, the width of [-1, 1].

    Returns:
        float `[N]` in dB, infinite for an exact match.
    """
    return 10 * (4 / mse(outputs, targets)).log10()


def ssim(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return structural similarity (Wang et al. 2004): 11×11 Gaussian window, σ 1.5, on [0, 1].

    The mean is taken over the channels and over the pixels whose window lies inside the image, as
    in the original and in scikit-image (`gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1`). torchmetrics also includes the border, where it
    mirrors the image, so the border is cropped here.

    Returns:
        float `[N]`, at most 1: one value per image.

    Raises:
        DataError: the images are smaller than the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

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


def paired(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Check a batch of outputs against its targets and clamp the outputs to [-1, 1].

    Args:
        outputs: float `[N, 3, H, W]`, images of a generator; may leave [-1, 1].
        targets: float `[N, 3, H, W]` in [-1, 1].

    Returns:
        Both, in one floating dtype (float64 if either is, else float32), the outputs clamped.

    Raises:
        DataError: shapes differ, or one of them is not a floating-point batch of RGB images.
    """
    for name, images in (("outputs", outputs), ("targets", targets)):
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise DataError(
                f"paired metrics take float [N, 3, H, W] in [-1, 1]; {name} is {images.dtype} "
                f"{list(images.shape)}"
            )
    if outputs.shape != targets.shape:
        raise DataError(
            f"outputs {list(outputs.shape)} and targets {list(targets.shape)} differ in shape; "
            "they must be pairs"
        )
    dtype = torch.float64 if torch.float64 in (outputs.dtype, targets.dtype) else torch.float32
    return outputs.to(dtype).clamp(-1, 1), targets.to(dtype)
