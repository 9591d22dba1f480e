"""`task=training_curves`: rows of a run become series."""

import pytest

from idinvert.errors import DataError
from idinvert.evaluation.provenance import Provenance
from idinvert.evaluation.training_curves import training_curves

ROWS = [
    {"nimg": 64, "loss/pixel": 2.0, "loss/encoder": 3.0},
    {"nimg": 100, "val/mse": 0.5},
    {"nimg": 128, "loss/pixel": 1.0, "loss/encoder": 1.5},
]
ORIGIN = Provenance(run="abc", choices={"scale": "miniature"}, seed=2)


def test_each_term_has_its_own_axis() -> None:
    record = training_curves(
        ROWS, terms=["loss/pixel", "val/mse", "loss/x"], origin=ORIGIN, data={"name": "mini"}
    )
    assert record.series == {
        "loss/pixel/nimg": [64.0, 128.0],
        "loss/pixel/value": [2.0, 1.0],
        "val/mse/nimg": [100.0],
        "val/mse/value": [0.5],
    }
    assert record.metrics == {"loss/pixel": 1.0, "val/mse": 0.5}
    assert (record.run, record.task, record.n, record.nimg, record.seed) == (
        "abc", "training_curves", 2, 128, 2,
    )  # fmt: skip
    assert record.choices["scale"] == "miniature"


def test_a_run_without_the_terms_says_what_it_has() -> None:
    with pytest.raises(DataError, match="none of loss/x; it has loss/encoder, loss/pixel, val/mse"):
        training_curves(ROWS, terms=["loss/x"], origin=ORIGIN, data={})
    with pytest.raises(DataError, match="no rows yet"):
        training_curves([], terms=["loss/pixel"], origin=ORIGIN, data={})
