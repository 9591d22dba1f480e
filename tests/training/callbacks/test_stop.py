"""Stopping: at the number of images, at a limit in time, and when asked by a signal."""

import os
import signal
from typing import Any

import pytest
import pytorch_lightning as pl

from idinvert.training.callbacks.stop import PEOPLE, SIGNALS, StopAtNimg
from tests.training.tiny import attribute_training, fit, labelled_batches


def train(stop, *others, start=0):
    module = attribute_training()
    module.clock.nimg = start
    fit(module, labelled_batches(count=8, size=4), callbacks=[stop, *others])
    return module


class Send(pl.Callback):
    """Sends this process a signal during its second batch; notes who handles it afterwards."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.then: Any = None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            os.kill(os.getpid(), self.number)
            self.then = signal.getsignal(self.number)


@pytest.fixture(autouse=True)
def handlers_are_given_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(("nimg", "seen"), [(12, 12), (13, 16), (1, 4)])
def test_training_ends_with_the_step_that_reaches_the_images(nimg, seen):
    assert train(StopAtNimg(nimg=nimg)).nimg == seen


def test_a_run_that_has_its_images_takes_no_step():
    assert train(StopAtNimg(nimg=12), start=12).nimg == 12


def test_a_limit_in_time_stops_after_a_step():
    assert train(StopAtNimg(nimg=1000, max_seconds=0.0)).nimg == 4


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_finishes_the_step_and_a_persons_second_would_end_the_process(
    number, capsys
):
    before = signal.getsignal(number)
    stop, send = StopAtNimg(nimg=1000), Send(number)
    ended: list[str] = []

    class End(pl.Callback):
        def on_train_end(self, trainer, module):
            ended.append("normally")

    assert train(stop, send, End()).nimg == 8
    assert stop.interrupted_by == signal.Signals(number).name
    assert ended == ["normally"]  # where checkpoints are written
    assert (send.then == before) is (number in PEOPLE)
    assert "finishing this step and saving" in capsys.readouterr().out


def test_of_two_signals_the_first_counts():
    stop = StopAtNimg(nimg=1000)
    train(stop, Send(signal.SIGUSR1), Send(signal.SIGTERM), Send(signal.SIGUSR1))
    assert stop.interrupted_by == "SIGUSR1"


def test_images_and_time_are_no_signals():
    for stop in (StopAtNimg(nimg=4), StopAtNimg(nimg=1000, max_seconds=0.0)):
        train(stop)
        assert stop.interrupted_by is None


def test_the_signals_are_given_back_after_an_error():
    class Fail(pl.Callback):
        def on_train_batch_end(self, *args):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        train(StopAtNimg(nimg=1000), Fail())  # and see handlers_are_given_back
