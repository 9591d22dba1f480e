"""What tests of whole runs look at: the one run of a folder, its newest checkpoint."""

from pathlib import Path
from typing import Any

import torch

TWO = "trainer=ddp_cpu"
FORKED = (TWO, "trainer.strategy=ddp_fork_find_unused_parameters_true")
"""Two ranks that this process forks, without an interpreter of their own."""
NO_MBSTD = ("discriminator.init=scratch", "+discriminator.network.mbstd_channels=0")
EXACT = ("trainer.precision=64-true", "batch_size=8", "logging.every_nimg=8", "data.val=0")
"""So that two ranks, each with its share of a batch, compute what one does."""


def only_run(outputs: Path) -> Path:
    """The folder of the one run below a folder."""
    (config,) = outputs.glob("*/*/config.yaml")
    return config.parent


def newest(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    return torch.load(sorted((folder / "checkpoints").glob("*.ckpt"))[-1], weights_only=True)


def assert_close(one: Path, other: Path, *, atol: float = 1e-12, without: str = "-") -> None:
    """Compares the weights of two runs, but for names that begin with ``without``."""
    first, second = newest(one)["state_dict"], newest(other)["state_dict"]
    assert first.keys() == second.keys()
    for name, value in first.items():
        if not name.startswith(without):
            torch.testing.assert_close(second[name], value, rtol=1e-6, atol=atol, msg=name)
