"""A run that was stopped or killed and goes on equals one that was not, bit for bit."""

import pytest
import pytorch_lightning as pl

from idinvert.tracking.run_files import read_status
from idinvert.training.attributes import AttributeTraining
from idinvert.training.callbacks.history import History
from idinvert.training.conventional import ConventionalTraining
from idinvert.training.domain_guided import DomainGuidedTraining
from idinvert.training.e4e import E4eTraining
from idinvert.training.force_in_domain import ForceInDomainTraining
from idinvert.training.gan import GANTraining
from idinvert.training.segmenter import SegmenterTraining

from .runs import rows_of, same_checkpoints

MODULES = {
    "attributes": AttributeTraining,
    "domain_guided": DomainGuidedTraining,
    "gan": GANTraining,
    "conventional": ConventionalTraining,
    "e4e": E4eTraining,
    "force_in_domain": ForceInDomainTraining,
    "segmenter": SegmenterTraining,
}
LAZY = {
    "gan": ["objective.r1_every=4"],
    "domain_guided": ["objective.r1_every=3"],
    # A pool that is full before the first stop, and a stage that changes right before and after.
    "e4e": ["objective.r1_every=5", "objective.pool_size=10", "objective.delta_start=20",
            "objective.delta_every=28"],
    "force_in_domain": ["objective.w_r1_every=3", "objective.pool_size=6"],
}  # fmt: skip


class Killed(BaseException):
    """Ends a run as a kill does: no last checkpoint, no rows, no status."""


@pytest.fixture
def kill_at(monkeypatch):
    """Makes a hook of a class die once, at a number of images."""

    def arrange(owner, hook, nimg):
        original = getattr(owner, hook)

        def dying(self, *args, **kwargs):
            module = next((a for a in args if isinstance(a, pl.LightningModule)), self)
            if module.nimg == nimg:
                monkeypatch.setattr(owner, hook, original)
                raise Killed
            return original(self, *args, **kwargs)

        monkeypatch.setattr(owner, hook, dying)

    return arrange


@pytest.mark.parametrize("experiment", MODULES)
def test_stopped_twice_and_gone_on_with_equals_unbroken(train_tiny, experiment):
    lazy = LAZY.get(experiment, [])
    unbroken = train_tiny(experiment, "nimg=72", *lazy, where="unbroken")
    for nimg in (20, 48, 72):  # in the middle of a tick and of an interval; at both; the end
        broken = train_tiny(experiment, f"nimg={nimg}", *lazy, where="broken")
    assert broken.name == unbroken.name
    same_checkpoints(unbroken, broken)
    assert rows_of(unbroken) == rows_of(broken, stopped_at=[20])
    assert read_status(broken) == {"state": "finished", "nimg": 72}


@pytest.mark.parametrize(
    ("experiment", "hook", "nimg"),
    [
        ("domain_guided", "training_step", 12),  # before any checkpoint
        ("domain_guided", "training_step", 40),  # between two
        ("domain_guided", "_discriminator_loss", 40),  # E has learned, D not yet
        ("domain_guided", "validation_step", 16),
        ("domain_guided", "validation_step", 32),  # where a checkpoint is due as well
        ("gan", "training_step", 32),  # right after a checkpoint
        ("gan", "_discriminator_step", 44),
        ("conventional", "training_step", 32),
        ("conventional", "validation_step", 32),
        ("e4e", "training_step", 40),
        ("e4e", "validation_step", 32),
        ("force_in_domain", "training_step", 40),
        ("attributes", "training_step", 32),
        ("attributes", "validation_step", 32),
        ("segmenter", "training_step", 32),
        ("segmenter", "validation_step", 32),
    ],
)
def test_killed_anywhere_and_started_again_equals_unbroken(
    train_tiny, once, kill_at, experiment, hook, nimg
):
    unbroken = once(experiment, "nimg=48")
    kill_at(MODULES[experiment], hook, nimg)
    with pytest.raises(Killed):
        train_tiny(experiment, "nimg=48", where="broken")
    broken = train_tiny(experiment, "nimg=48", where="broken")
    same_checkpoints(unbroken, broken)
    assert rows_of(unbroken) == rows_of(broken)


def test_killed_between_a_row_and_its_checkpoint_counts_no_images_twice(train_tiny, kill_at):
    kill_at(History, "on_train_batch_end", 40)
    with pytest.raises(Killed):
        train_tiny("domain_guided", "nimg=48", where="broken")
    broken = train_tiny("domain_guided", "nimg=48", where="broken")
    trained = [row["nimg"] for row in rows_of(broken) if "loss/pixel" in row]
    assert trained == [12, 24, 36, 48]


def test_more_workers_change_nothing(train_tiny, once):
    alone = once("attributes", "nimg=48")
    helped = train_tiny("attributes", "nimg=48", "system.num_workers=1")
    assert alone.name == helped.name
    same_checkpoints(alone, helped)
