"""`task=training_curves`: rows of a run become series."""

import json
from types import SimpleNamespace

import pytest

from idinvert.errors import DataError
from idinvert.evaluation import training_curves

ROWS = [
    {"nimg": 64, "loss/pixel": 2.0, "loss/encoder": 3.0},
    {"nimg": 100, "val/mse": 0.5},
    {"nimg": 128, "loss/pixel": 1.0, "loss/encoder": 1.5},
]
HEADER = {"choices": {"scale": "miniature"}, "seed": 2, "data": "mini", "data_fingerprint": "00"}


@pytest.fixture
def go(subject, tmp_path, monkeypatch):
    """Records the curves of a run `abc` that logged some rows."""

    def run(rows, terms, state="finished"):
        folder = tmp_path / "outputs" / "domain_guided" / "abc"
        (folder / "weights").mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        (folder / "weights" / "encoder.safetensors").touch()
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (folder / "status.json").write_text(json.dumps({"state": state, "nimg": 128}))
        header = SimpleNamespace(provenance=HEADER)
        monkeypatch.setattr(training_curves, "read_header", lambda path, key: header)
        return training_curves.record_curves(subject(run="abc"), terms=terms)

    return run


def test_each_term_has_its_own_axis(go):
    (record,) = go(ROWS, ["loss/pixel", "val/mse", "loss/x"])
    assert record.series == {
        "loss/pixel/nimg": [64.0, 128.0],
        "loss/pixel/value": [2.0, 1.0],
        "val/mse/nimg": [100.0],
        "val/mse/value": [0.5],
    }
    assert record.metrics == {"loss/pixel": 1.0, "val/mse": 0.5, "diverged": 0.0}
    assert set(record.protocol) == set(record.metrics)
    assert (record.run, record.task, record.n, record.nimg, record.seed) == (
        "abc", "training_curves", 2, 128, 2,
    )  # fmt: skip
    assert record.choices["scale"] == "miniature"


def test_a_run_that_diverged_says_so(go):
    (record,) = go(ROWS, ["loss/pixel"], state="diverged")
    assert record.metrics["diverged"] == 1.0


def test_a_run_without_the_terms_says_what_it_has(go):
    with pytest.raises(DataError, match="none of loss/x; it has loss/encoder, loss/pixel, val/mse"):
        go(ROWS, ["loss/x"])
    with pytest.raises(DataError, match="no rows yet"):
        go([], ["loss/pixel"])
