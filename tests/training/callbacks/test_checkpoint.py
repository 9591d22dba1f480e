"""Checkpoints: when they are written, how many stay, and what a full disk costs."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from idinvert.checkpoints.release import load_network, read_header
from idinvert.errors import CheckpointError, DivergenceError
from idinvert.training.callbacks.checkpoint import (
    NimgCheckpoint,
    checkpoints_in,
    latest_checkpoint,
    nimg_of,
)
from idinvert.training.callbacks.weights import RunWeights
from tests.training.tiny import attribute_training, fit, labelled_batches

SIZE = 4


class At(pl.Callback):
    """Does something to the module after one batch, before anything is saved."""

    def __init__(self, batch_idx: int, action: Callable[[Any], None]) -> None:
        self.batch_idx, self.action = batch_idx, action

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.batch_idx:
            self.action(module)


@pytest.fixture
def train(tmp_path):
    """Trains ``steps`` batches of 4 images with a checkpoint every ``every`` images."""

    def run(*, steps, every=8, keep=2, first=()):
        module = attribute_training()
        weights = RunWeights(folder=tmp_path, provenance={"seed": 4})
        checkpoint = NimgCheckpoint(folder=tmp_path, every_nimg=every, keep=keep, weights=weights)
        batches = labelled_batches(count=steps, size=SIZE)
        fit(module, batches, callbacks=[*first, checkpoint])
        return module

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_they_come_every_so_many_images_and_at_the_end_and_the_newest_stay(train, tmp_path):
    train(steps=3)
    assert names(tmp_path) == ["nimg-000000008.ckpt", "nimg-000000012.ckpt"]
    train(steps=9, every=12, keep=9)
    assert {"nimg-000000024.ckpt", "nimg-000000036.ckpt"} < set(names(tmp_path))
    newest = latest_checkpoint(tmp_path / "checkpoints")
    assert nimg_of(newest) == 36
    assert nimg_of(None) == 0


def test_the_file_is_plain_and_holds_weights_optimisers_and_the_count(train, tmp_path):
    module = train(steps=2)
    stored = torch.load(tmp_path / "checkpoints" / "nimg-000000008.ckpt", weights_only=True)
    for name, value in module.network.state_dict().items():
        assert torch.equal(stored["state_dict"][f"network.{name}"], value)
    assert stored["state_dict"]["clock._extra_state"] == {"nimg": 8}
    assert len(stored["optimizer_states"]) == 1


def test_the_weights_lie_beside_it_with_where_they_come_from(train, tmp_path):
    module = train(steps=2)
    path = tmp_path / "weights" / "attributes.safetensors"
    loaded = load_network(path, key="test", expect="attributes")
    for name, value in module.network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert read_header(path).provenance == {"seed": 4, "nimg": 8}


def test_what_a_killed_process_left_half_written_is_cleared_and_never_loaded(train, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    torn = tmp_path / "checkpoints" / ".nimg-000000099.ckpt.left.tmp"
    torn.write_bytes(b"half")
    assert latest_checkpoint(tmp_path / "checkpoints") is None
    train(steps=2)
    assert not torn.exists()


def disk_full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["rename", "write", "flush"])
def test_a_full_disk_costs_none_of_the_earlier_checkpoints(train, tmp_path, monkeypatch, place):
    before: dict[str, bytes] = {}

    def fill_the_disk(module):
        folder = tmp_path / "checkpoints"
        before.update({path.name: path.read_bytes() for path in checkpoints_in(folder)})
        target, name = {
            "rename": (os, "replace"),
            "flush": (os, "fsync"),
            "write": (pl.Trainer, "save_checkpoint"),
        }[place]
        monkeypatch.setattr(target, name, disk_full)

    with pytest.raises(CheckpointError, match="nimg-000000016") as caught:
        train(steps=6, first=[At(2, fill_the_disk)])
    assert "nimg-000000008.ckpt" in str(caught.value)
    assert "checkpoint.keep=2" in str(caught.value)
    assert list(before) == names(tmp_path) == ["nimg-000000008.ckpt"]
    after = (tmp_path / "checkpoints" / "nimg-000000008.ckpt").read_bytes()
    assert after == before["nimg-000000008.ckpt"]


def test_weights_that_are_not_finite_are_not_written_over_good_ones(train, tmp_path):
    def break_a_weight(module):
        module.network.heads.weight.data[0, 0] = float("nan")

    with pytest.raises(DivergenceError, match=r"weights of the attributes.*nimg-000000008\.ckpt"):
        train(steps=4, first=[At(3, break_a_weight)])
    assert names(tmp_path) == ["nimg-000000008.ckpt"]
    kept = load_network(tmp_path / "weights" / "attributes.safetensors", key="test")
    assert all(value.isfinite().all() for value in kept.state_dict().values())
