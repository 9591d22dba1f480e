"""mse, psnr and ssim against literal forms and scikit-image."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics import MeanSquaredError

from idinvert.errors import DataError
from idinvert.metrics.paired import mse, psnr, ssim


def images(n: int, size: int, *, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Smooth images with noise, [n, 3, size, size] in [-1, 1]."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=rng, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    noise = 0.1 * torch.randn(n, 3, size, size, generator=rng, dtype=torch.float64)
    return (2 * smooth - 1 + noise).clamp(-1, 1).to(dtype)


def test_mse_is_the_literal_mean_and_torchmetrics_on_the_same_images():
    x, y = images(3, 16, seed=0), images(3, 16, seed=1)
    expected = [
        sum(((x[i] - y[i]).numpy().astype(np.float64) ** 2).flatten()) / (3 * 16 * 16)
        for i in range(3)
    ]
    assert mse(x, y).tolist() == pytest.approx(expected, rel=1e-12)
    overall = MeanSquaredError()
    overall.update(x.flatten(), y.flatten())
    assert mse(x, y).mean().item() == pytest.approx(overall.compute().item(), rel=1e-6)


def test_outputs_are_clamped_and_targets_are_not_touched():
    target = torch.ones(1, 3, 12, 12)
    assert mse(target + 5, target).item() == 0
    assert mse(torch.full_like(target, -9), target).item() == 4
    assert ssim(target + 5, target).item() == pytest.approx(1, abs=1e-6)


def test_psnr_is_ten_log_four_over_mse():
    target = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    outputs = target.clone()
    outputs[0] += 0.2
    values = psnr(outputs, target)
    assert values[0].item() == pytest.approx(10 * math.log10(4 / 0.04), rel=1e-12)
    assert values[1].item() == math.inf


@pytest.mark.parametrize("size", [11, 12, 32])
def test_ssim_equals_scikit_image(size):
    x, y = images(4, size, seed=2), images(4, size, seed=3)
    y = 0.7 * x + 0.3 * y
    expected = [
        structural_similarity(
            (x[i].numpy() + 1) / 2,
            (y[i].numpy() + 1) / 2,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
        for i in range(4)
    ]
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-10)
    assert ssim(x.float(), y.float()).tolist() == pytest.approx(expected, abs=1e-4)


def test_ssim_depends_on_the_range_it_is_measured_in():
    x, y = images(2, 32, seed=4), images(2, 32, seed=5)
    wrong = structural_similarity(
        x[0].numpy(), y[0].numpy(), channel_axis=0, gaussian_weights=True, data_range=2.0
    )
    assert abs(ssim(x, y)[0].item() - wrong) > 0.01


def test_an_image_does_not_depend_on_its_batch_mates():
    x, y = images(5, 16, seed=6), images(5, 16, seed=7)
    for function in (mse, psnr, ssim):
        alone = torch.cat([function(x[i : i + 1], y[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(function(x, y), alone, rtol=1e-12, atol=0)


def test_errors_say_what_was_got():
    x = torch.zeros(2, 3, 16, 16)
    with pytest.raises(DataError, match=r"\[2, 3, 16, 16\].*\[1, 3, 16, 16\]"):
        mse(x, x[:1])
    with pytest.raises(DataError, match=r"outputs is torch\.uint8"):
        mse(x.byte(), x)
    with pytest.raises(DataError, match="at least 11 px"):
        ssim(x[..., :10], x[..., :10])
