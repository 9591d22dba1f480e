"""A unit that was made to draw a class is found, with its place, its layer and its pictures."""

import json
from types import SimpleNamespace

import pytest
import torch

from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import units
from idinvert.evaluation.dissection import dissect
from idinvert.metrics.protocol import Z

from .conftest import R, only
from .planted import DRAWS


def described(out):
    (path,) = out.rglob("dissect.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("threshold", ["iqr", "quantile"])
def test_the_unit_that_draws_a_class_is_found(planted, tmp_path, threshold):
    record = only(dissect(planted(n=24, out=tmp_path), threshold=threshold, least=0.01, shown=4))
    table = described(tmp_path)
    assert [(u["layer"], u["unit"]) for u in table["units"]] == [
        (k, u) for k in (1, 2) for u in range(4)
    ]
    draws = [u for u in table["units"] if u["unit"] == DRAWS]
    if threshold == "quantile":  # half as fine, no upsampled square reaches its own top 0.5 %
        draws = draws[1:]
    found = {(u["concept"], u["kind"], u["follows"]) for u in draws}
    assert found == {("square", "object", True)}
    others = [u for u in table["units"] if u["unit"] in (0, 1)]
    score = "iqr" if threshold == "iqr" else "iou"
    assert max(u[score] for u in others) < 0.4 * min(u[score] for u in draws)
    if threshold == "iqr":
        assert draws[-1]["iou"] > 0.6, "the best level is chosen, not the topmost"
        low, high = record.intervals["object"]
        assert low < record.metrics["object"] < high and Z > 0
    assert record.task == "dissection" and record.n == 24
    assert record.checkpoints["segmenter"] == "34" and "inversion" not in record.choices
    assert record.series["layer"] == [1.0, 2.0] and len(record.series["object"]) == 2
    out = tmp_path / threshold
    assert {p.name for p in out.glob("layers.*")} == {"layers.png", "layers.pdf"}
    page = (out / "index.html").read_text()
    assert "layer 2" in page and "unit 2: square, IoU" in page and "data:image/png" in page
    assert len(list((out / "units").iterdir())) == 8


def test_what_is_counted_is_not_counted_again_and_part_of_it_goes_on(planted, tmp_path):
    dissect(planted(n=24, out=tmp_path))
    first = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    before = (tmp_path / "iqr" / "dissect.json").read_bytes()
    gone = sorted(first)[1]
    gone.unlink()
    times = {path: path.stat().st_mtime_ns for path in first if path != gone}
    dissect(planted(n=24, out=tmp_path))
    assert (tmp_path / "iqr" / "dissect.json").read_bytes() == before
    assert {path: path.read_bytes() for path in first} == first
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_exact_masks_of_real_images_that_are_inverted(subject, domain, tmp_path, monkeypatch):
    masks = SimpleNamespace(items=[dict(domain.test[i]) for i in range(10)])
    for item in masks.items:
        item["mask"] = (item["image"][0] > 127).to(torch.uint8)

    class Masked(list):
        pass

    held = Masked(masks.items)
    one = SimpleNamespace(test=held, mask_classes=("dark", "light"))
    monkeypatch.setattr(units, "masked_images", lambda context: one)
    record = only(dissect(subject(out=tmp_path), source="inverted", layers=[2, 4]))
    assert record.choices["task"]["source"] == "inverted" and record.choices["inversion"]
    assert {u["layer"] for u in described(tmp_path)["units"]} == {2, 4}


def test_a_layer_that_is_not_there_and_one_image_are_refused(planted):
    with pytest.raises(ConfigError, match=r"task\.layers=7: no such layer\. There are: 1, 2\."):
        dissect(planted(), layers=[7])
    with pytest.raises(DataError, match="got n=1, expected 2 or more"):
        dissect(planted(n=1))


def test_a_segmenter_is_needed(subject):
    context = subject()
    context.config["segmenter"] = None
    context.config["data"] = {"_target_": "idinvert.toy.miniature.faces_mini", "resolution": R}
    with pytest.raises(ConfigError, match="needs a segmenter, and none is given for data=faces"):
        dissect(context)
