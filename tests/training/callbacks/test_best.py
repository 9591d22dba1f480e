"""The weights of the least validation error, and what loggers are handed when training ends."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from idinvert.checkpoints.release import fingerprint, read_header, save_network
from idinvert.training.callbacks.best import BestWeights


class Keeps:
    """A logger that takes weights."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def log_weights(self, role: str, path: Path, **more: Any) -> None:
        self.calls.append({"role": role, "path": path, **more})


@pytest.fixture
def run(tmp_path: Path, tiny_encoder: Any) -> Any:
    """Saves an encoder at so many images as a checkpoint does, then validates."""
    callback, logger = BestWeights(folder=tmp_path), Keeps()
    module = SimpleNamespace(trained_networks={"encoder": tiny_encoder()}, nimg=0)

    def step(nimg: int, error: float | None, *, saved: bool = True) -> BestWeights:
        module.nimg = nimg
        if saved:
            path = tmp_path / "weights" / "encoder.safetensors"
            save_network(tiny_encoder(seed=nimg), path, provenance={"nimg": nimg, "run": "r"})
        metrics = {} if error is None else {"val/mse": torch.tensor(error)}
        trainer = SimpleNamespace(
            is_global_zero=True, callback_metrics=metrics, loggers=[object(), logger]
        )
        callback.on_validation_end(trainer, module)  # type: ignore[arg-type]
        return callback

    def end(nimg: int) -> list[dict[str, Any]]:
        module.nimg = nimg
        trainer = SimpleNamespace(is_global_zero=True, callback_metrics={}, loggers=[logger])
        callback.on_train_end(trainer, module)  # type: ignore[arg-type]
        return logger.calls

    return SimpleNamespace(step=step, end=end, folder=tmp_path / "weights", module=module)


def best(run: Any) -> int:
    return read_header(run.folder / "best" / "encoder.safetensors").provenance["nimg"]


def test_the_least_error_is_kept_also_by_a_process_that_goes_on(run: Any, tmp_path: Path) -> None:
    run.step(4, 0.5)
    run.step(8, 0.3)
    run.step(12, 0.4)
    assert best(run) == 8
    later = BestWeights(folder=tmp_path)
    run.step(16, None)
    run.module.nimg = 16
    for error, kept in ((0.35, 8), (float("nan"), 8), (0.2, 16)):
        metrics = {"val/mse": torch.tensor(error)}
        trainer = SimpleNamespace(is_global_zero=True, callback_metrics=metrics, loggers=[])
        later.on_validation_end(trainer, run.module)  # type: ignore[arg-type]
        assert best(run) == kept


def test_a_validation_between_two_checkpoints_says_nothing_of_the_weights_on_the_disk(
    run: Any,
) -> None:
    run.step(4, 0.5)
    run.step(6, 0.1, saved=False)
    assert best(run) == 4


def test_loggers_get_last_and_best_with_their_hashes(run: Any) -> None:
    run.step(4, 0.3)
    run.step(8, 0.5)
    calls = run.end(8)
    assert [(call["aliases"], call["facts"]["nimg"]) for call in calls] == [
        (["best"], 4),
        (["last"], 8),
    ]
    assert all(call["role"] == "encoder" for call in calls)
    assert [call["sha"] for call in calls] == [fingerprint(call["path"]) for call in calls]


def test_where_the_last_is_the_best_it_is_one_upload(run: Any) -> None:
    run.step(4, 0.5)
    run.step(8, 0.3)
    assert [call["aliases"] for call in run.end(8)] == [["best", "last"]]


def test_a_gan_hands_on_its_networks_as_they_are_last(
    run: Any, tiny_generator: Any, tiny_discriminator: Any
) -> None:
    run.module.trained_networks = {"generator": 0, "discriminator": 0}
    for role, network in (("generator", tiny_generator()), ("discriminator", tiny_discriminator())):
        save_network(network, run.folder / f"{role}.safetensors", provenance={"nimg": 4})
    assert [(call["role"], call["aliases"]) for call in run.end(4)] == [
        ("generator", ["last"]),
        ("discriminator", ["last"]),
    ]
    assert not (run.folder / "best").exists()
