"""What the tests of this folder compare by; the CPU is the reference."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from idinvert.cli.devices import quieten_lightning
from idinvert.cli.train import train
from idinvert.config.compose import compose_plain, given_keys

DEVICE = os.environ.get("IDINVERT_GPU_TESTS_ON", "cuda")
"""Where the tests run; ``cpu`` tries the tests themselves where there is no GPU."""
PRECISIONS = {
    "fp32": ("trainer.precision=32-true",),
    "tf32": ("trainer.precision=32-true", "system.tf32=true"),
    "bf16": ("trainer.precision=bf16-mixed",),
}
BOUNDS = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}
"""Of a forward pass and its gradient; float32 and TF32 round at 6e-8 and 5e-4, bfloat16 at 4e-3."""


def difference(got: Tensor, expected: Tensor) -> float:
    """``|got - expected| / |expected|`` in float64; infinite where a number is not finite."""
    got, expected = got.detach().double().cpu(), expected.detach().double().cpu()
    assert got.shape == expected.shape
    if not (got.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    return float((got - expected).norm() / expected.norm().clamp(min=1e-12))


def run(words: Sequence[str]) -> Path:
    """What ``python train.py words`` does, in this process."""
    with warnings.catch_warnings():
        quieten_lightning()
        return train(compose_plain("train", list(words)), given=given_keys(words))
