"""The bar a user watches, and the look at the losses that ends a diverged run."""

import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from idinvert.errors import DivergenceError
from idinvert.training.callbacks.history import History
from idinvert.training.callbacks.progress import Progress
from idinvert.training.callbacks.stop import StopWhenNotFinite, require_finite
from tests.training.tiny import attribute_training, fit, labelled_batches


def test_the_bar_counts_images_from_where_the_run_stands(capsys):
    module = attribute_training()
    module.clock.nimg = 8
    history = History(every_nimg=4)
    bar = Progress(nimg=16, history=history, max_seconds=60)
    fit(module, labelled_batches(count=2, size=4), callbacks=[history, bar])
    lines = capsys.readouterr().err
    (line,) = lines.splitlines()
    assert "16 of 16" in line and " total 0." in line and "images/s" in line and "\r" not in line
    assert bar._bar is None


def test_the_bar_ends_where_the_time_limit_will_end_training():
    bar = Progress(nimg=10_000, history=History(every_nimg=4), max_seconds=60)
    bar._started, bar._first = time.monotonic() - 15, 100
    assert bar._expected(250, limit=60) == pytest.approx(700, abs=2)  # 10 images/s for 60 s
    assert bar._expected(9_000, limit=60) == 10_000, "training ends by its images"
    bar._started -= 100
    assert bar._expected(250, limit=60) == 250, "the limit has passed"


def test_the_bar_is_closed_after_an_error():
    class Fail(pl.Callback):
        def on_train_batch_end(self, *args):
            raise RuntimeError("broken")

    bar = Progress(nimg=16, history=History(every_nimg=4))
    with pytest.raises(RuntimeError, match="broken"):
        fit(attribute_training(), labelled_batches(), callbacks=[bar, Fail()])
    assert bar._bar is None


def test_every_term_that_is_not_finite_is_named_and_the_good_checkpoint_too():
    outputs = {name: torch.tensor(1.0) for name in ("loss/pixel", "loss/r1", "logit/real")}
    require_finite(outputs, nimg=64, newest=None)
    outputs["loss/r1"], outputs["logit/real"] = torch.tensor(torch.inf), torch.tensor(torch.nan)
    with pytest.raises(DivergenceError, match=r"at 64 images: loss/r1, logit/real") as caught:
        require_finite(outputs, nimg=64, newest=Path("nimg-000000032.ckpt"))
    assert "nimg-000000032.ckpt" in str(caught.value) and "objective.lr" in str(caught.value)
    with pytest.raises(DivergenceError, match="There is no checkpoint yet"):
        require_finite(outputs, nimg=64, newest=None)


@pytest.mark.parametrize(("every", "steps"), [(1, 3), (4, 5)])
def test_it_looks_every_so_many_batches(tmp_path, every, steps):
    module = attribute_training()
    batches = labelled_batches(count=8, size=4)
    batches[2]["attributes"] = batches[2]["attributes"] * float("nan")
    with pytest.raises(DivergenceError):
        fit(module, batches, callbacks=[StopWhenNotFinite(folder=tmp_path, every=every)])
    assert module.nimg == 4 * steps
