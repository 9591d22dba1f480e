"""A segmenter that was trained for one step serves every task on units, from the command line."""

import json

import pytest
from PIL import Image

from idinvert.errors import ConfigError

FEW = ("task.samples=4", "task.steps=2", "batch_size=2")


@pytest.fixture(scope="module")
def segmenter(train_one):
    """The run's folder; its classes are the faces'."""
    return train_one("experiment=segmenter", "segmenter.width=8", "segmenter.deep=8")


@pytest.fixture
def on_units(on_run, segmenter):
    return lambda *words: on_run("segmenter=checkpoint", f"segmenter.path={segmenter}", *words)


def test_the_segmenter_is_measured(on_units):
    (record,) = on_units("task=segmentation", "task.shown=2")
    assert record.task == "segmentation" and record.n == 6
    assert 0 < record.metrics["iou"] < 1 and {"iou_background", "iou_hair"} <= set(record.metrics)


@pytest.mark.parametrize("source", ["samples", "inverted"])
def test_dissection_of_samples_and_of_inversions(on_units, outputs, source):
    words = ("inversion=encoder", f"task.source={source}", "task.layers=[1,5]", "task.shown=2")
    (record,) = on_units("task=dissection", *words)
    (path,) = outputs.rglob("dissect.json")
    units = json.loads(path.read_text())["units"]
    assert {u["layer"] for u in units} == {1, 5} and len(units) == 16
    assert record.series["layer"] == [1, 5] and len(list(path.parent.glob("units/*.png"))) == 4


@pytest.mark.parametrize("words", [(), ("task.source=inverted", "inversion=encoder")])
def test_omissions_of_samples_and_of_inversions(on_units, words):
    (record,) = on_units("task=omissions", *words, "task.shown=2")
    found = record.metrics
    assert {"fsd", "fsd_mean", "fsd_covariance", "fsd_floor", "omitted"} <= set(found)
    assert found["fsd"] == pytest.approx(found["fsd_mean"] + found["fsd_covariance"])
    assert ("inversion" in record.choices) == bool(words)


def test_intervention_and_painting_of_a_sample_and_of_pictures(on_units, outputs, tmp_path):
    names = ("background", "hair", "skin", "cloth")  # some class is read after one step
    for name in names:
        try:
            (record,) = on_units("task=intervention", f"task.object={name}", "task.units=2", *FEW)
            break
        except ConfigError as error:
            assert "none of 4 samples shows it" in str(error)
    assert record.metrics["area"] >= 0 and len(record.choices["task"]["best"]) == 2
    Image.new("L", (16, 16), 255).save(tmp_path / "mask.png")
    pictures = tmp_path / "mine"
    pictures.mkdir()
    for k in range(2):
        Image.new("RGB", (20, 20), (90 * k, 40, 200)).save(pictures / f"p{k}.png")
    words = ["task=paint", f"task.object={name}", f"task.mask={tmp_path / 'mask.png'}", *FEW]
    (record,) = on_units(*words, "task.units=2", "task.action=remove", "task.sample=3")
    assert record.choices["task"]["sample"] == 3 and record.n == 1
    out = tmp_path / "painted"
    own = (f"images={pictures}", f"task.out={out}", "inversion=encoder", "n=null")
    (record,) = on_units(*words, *own, "task.units=2")
    assert record.n == 2 and record.choices["task"]["images"] == "own"
    assert {"p0_input.png", "p0_inverted.png", "p1_painted.png", "index.html"} <= {
        path.name for path in out.iterdir()
    }


def test_a_domain_without_masks_needs_a_segmenter(on_run, tmp_path):
    pictures = tmp_path / "mine"
    pictures.mkdir()
    for k in range(8):
        Image.new("RGB", (16, 16), (30 * k, 40, 200)).save(pictures / f"p{k}.png")
    words = ("data=folder", f"data.path={pictures}", "data.split.test=6", "n=4",
             "data.resolution=16")  # fmt: skip
    with pytest.raises(ConfigError, match="needs a segmenter, and none is given for data=folder"):
        on_run("task=dissection", *words)
    with pytest.raises(ConfigError, match="data=folder has no masks"):
        on_run("task=dissection", "task.source=inverted", "inversion=encoder", *words)
