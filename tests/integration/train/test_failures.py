"""What goes wrong while training: no finite numbers, a full disk, a second process."""

import json
import os
from pathlib import Path

import pytest

from idinvert.cli.commands import train as main
from idinvert.config.run_folder import locked
from idinvert.errors import DivergenceError, RunLockedError
from idinvert.tracking.run_files import read_status
from idinvert.training.domain_guided import DomainGuidedTraining

from .runs import only_run, same_checkpoints


@pytest.fixture
def breaks(monkeypatch):
    """Makes E's loss and G(E(x)) not a number wherever ``when`` is true of the training module."""
    loss_of, reconstruction = DomainGuidedTraining._encoder_loss, DomainGuidedTraining.reconstruct

    def arrange(when):
        def factor(module):
            return float("nan") if when(module) else 1.0

        def encoder_loss(self, *shares, **kept):
            loss, terms = loss_of(self, *shares, **kept)
            return loss * factor(self), {name: v * factor(self) for name, v in terms.items()}

        def reconstruct(self, images):
            return reconstruction(self, images) * factor(self)

        monkeypatch.setattr(DomainGuidedTraining, "_encoder_loss", encoder_loss)
        monkeypatch.setattr(DomainGuidedTraining, "reconstruct", reconstruct)

    return arrange


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nan_ends_the_run_names_the_good_checkpoint_and_leaves_it_as_it_was(
    train_tiny, once, breaks, monkeypatch, tmp_path
):
    train_tiny("domain_guided", "nimg=16", where="broken")
    run = only_run(tmp_path / "broken")
    before = contents(run / "checkpoints"), contents(run / "weights")
    with monkeypatch.context():
        breaks(lambda module: module.nimg == 24)
        with pytest.raises(DivergenceError, match=r"at 28 images: .*loss/pixel") as caught:
            train_tiny("domain_guided", "nimg=32", where="broken")
    assert str(run / "checkpoints" / "nimg-000000016.ckpt") in str(caught.value)
    assert "objective.lr" in str(caught.value)
    assert read_status(run) == {"state": "diverged", "nimg": 28}
    assert (contents(run / "checkpoints"), contents(run / "weights")) == before

    monkeypatch.undo()  # whatever it was has been mended: the same command goes on
    train_tiny("domain_guided", "nimg=48", where="broken")
    same_checkpoints(run, once("domain_guided", "nimg=48"))


@pytest.mark.parametrize("how", ["nan", "worse"])
def test_a_run_that_ends_worse_than_the_mean_image_has_diverged(
    train_tiny, breaks, tmp_path, monkeypatch, how
):
    more = []
    if how == "nan":
        breaks(lambda module: not module.encoder.training)
    else:
        more = ["objective.lr=3.0", "nimg=24"]
        assert read_status(train_tiny("domain_guided", *more))["state"] == "finished", "a trial"
        monkeypatch.setattr("idinvert.cli.train.JUDGED_FROM", 24)
    with pytest.raises(DivergenceError, match="that of G at the mean code"):
        train_tiny("domain_guided", *more)
    run = only_run(tmp_path / "outputs")
    assert read_status(run)["state"] == "diverged"
    with pytest.raises(DivergenceError, match="that of G at the mean code"):
        train_tiny("domain_guided", *more)  # it has all its images, and is still called diverged
    assert read_status(run)["state"] == "diverged"


def test_a_run_that_only_stopped_is_not_judged(train_tiny, breaks):
    breaks(lambda module: not module.encoder.training)
    folder = train_tiny("domain_guided", "max_seconds=0")
    assert read_status(folder) == {"state": "stopped", "nimg": 4}


def test_two_processes_in_one_run_folder_are_one_too_many(
    train_tiny, overrides, monkeypatch, capsys
):
    folder = train_tiny("attributes")
    before = (folder / "config.yaml").read_bytes()
    with locked(folder):
        with pytest.raises(RunLockedError, match=f"in use by process {os.getpid()}"):
            train_tiny("attributes")
        monkeypatch.setattr("sys.argv", ["train.py", *overrides("attributes", "nimg=12")])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert f"error: {folder} is in use by process {os.getpid()}" in error
    assert "Traceback" not in error
    assert (folder / "config.yaml").read_bytes() == before
    train_tiny("attributes", "nimg=12")  # the lock ends with its owner
    assert json.loads((folder / "status.json").read_text())["nimg"] == 12
