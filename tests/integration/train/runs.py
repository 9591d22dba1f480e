"""What tests of whole runs look at: the one run of a folder, its newest checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from idinvert.checkpoints.release import read_header
from idinvert.checkpoints.tensor_file import read_tensors
from idinvert.tracking.loggers import read_rows

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


def same_checkpoints(one: Path, other: Path, *, validations: bool = True) -> None:
    """Compares the newest checkpoints of two runs bit for bit: weights, optimisers, callbacks."""
    first, second = newest(one), newest(other)
    if not validations:
        del first["callbacks"]["NimgCheckpoint"], second["callbacks"]["NimgCheckpoint"]
    assert first["state_dict"] and first["optimizer_states"]
    for key in ("state_dict", "optimizer_states", "callbacks"):
        _compare(first[key], second[key], key)
    names = {max(path.name for path in run.glob("checkpoints/*.ckpt")) for run in (one, other)}
    assert len(names) == 1


def same_weights(one: Path, other: Path) -> None:
    """Compares the weight files of two runs: tensors and provenance, but for the command line."""
    files = [sorted((run / "weights").rglob("*.safetensors")) for run in (one, other)]
    assert files[0] and len(files[0]) == len(files[1])
    for first, second in zip(*files, strict=True):
        assert first.relative_to(one) == second.relative_to(other)
        _compare(read_tensors(first).tensors, read_tensors(second).tensors, first.name)
        facts = [read_header(path).provenance | {"command": ""} for path in (first, second)]
        _compare(facts[0], facts[1], first.name)


def rows_of(folder: Path, *, stopped_at: Sequence[int] = ()) -> list[dict[str, float]]:
    """The rows of a run without its speed, and without validations where it was stopped."""
    return [
        {name: value for name, value in row.items() if name != "images_per_second"}
        for row in read_rows(folder / "metrics.jsonl")
        if not (row["nimg"] in stopped_at and any(name.startswith("val/") for name in row))
    ]


class Difference(AssertionError):
    """Two runs are not the same."""


def _compare(one: Any, other: Any, path: str) -> None:
    if isinstance(one, torch.Tensor):
        same = torch.equal(one, other) and one.dtype == other.dtype
    elif isinstance(one, dict):
        same = list(one) == list(other)
        for key in one if same else ():
            _compare(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        same = len(one) == len(other)
        for index, (a, b) in enumerate(zip(one, other, strict=False)):
            _compare(a, b, f"{path}/{index}")
    else:
        same = one == other
    if not same:
        raise Difference(f"{path}: {one!r} is not {other!r}")
