"""Rows: averages over a tick, the images seen as x-axis, and nothing lost by a stop in between."""

import pytest

from idinvert.tracking.loggers import CsvLogger, read_rows
from idinvert.training.callbacks.history import History
from tests.training.tiny import attribute_training, fit, labelled_batches


@pytest.fixture
def train(tmp_path):
    """Trains batches ``first`` to ``last`` of a fixed list, 4 images each, into metrics.jsonl."""

    class Attach(History):
        def on_train_start(self, trainer, module):
            trainer.loggers = [CsvLogger(folder=tmp_path, resume_nimg=module.nimg)]
            super().on_train_start(trainer, module)

    def run(first, last, *, state=None, module=None):
        module = module or attribute_training()
        history = Attach(every_nimg=12)
        if state is not None:
            history.load_state_dict(state)
        batches = labelled_batches(count=last)[first:]
        record = fit(module, batches, callbacks=[history])
        return module, history, record

    return run


def test_a_row_averages_its_tick(train, tmp_path):
    _, _, record = train(0, 7)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["nimg"] for row in rows] == [12, 24]
    for index, row in enumerate(rows):
        tick = record.outputs[3 * index : 3 * index + 3]
        for name in ("loss/binary", "loss/value", "loss/total"):
            expected = sum(output[name].item() for output in tick) / 3
            assert row[name] == pytest.approx(expected, rel=1e-6)
        assert row["lr/0"] == 3e-3
        assert row["images_per_second"] > 0


def test_a_half_filled_tick_goes_on_after_a_stop(train, tmp_path):
    train(0, 6)
    unbroken = read_rows(tmp_path / "metrics.jsonl")
    (tmp_path / "metrics.jsonl").unlink()
    module, history, _ = train(0, 4)
    train(4, 6, state=history.state_dict(), module=module)
    broken = read_rows(tmp_path / "metrics.jsonl")
    assert [row["nimg"] for row in broken] == [row["nimg"] for row in unbroken] == [12, 24]
    # The optimiser starts anew in this test, so the later losses differ; the first of the
    # second tick was measured before the stop and must be part of its average.
    assert history.state_dict()["counts"]["loss/total"] == 1
    assert broken[0]["loss/total"] == unbroken[0]["loss/total"]
