"""Without the unit that draws a class the class is gone; with it, it appears where it is set."""

import csv
from functools import partial

import pytest
import torch
from PIL import Image

from idinvert.errors import ConfigError, DataError
from idinvert.evaluation import intervention
from idinvert.evaluation.intervention import intervene, squares
from idinvert.evaluation.paint import paint

from .conftest import R, only
from .planted import DRAWS

FEW = {"samples": 10, "steps": 8, "lr": 0.3}


@pytest.fixture
def mask(tmp_path):
    """A mask that is white in the lower right quarter."""
    picture = Image.new("L", (R, R), 0)
    picture.paste(255, (R // 2, R // 2, R, R))
    picture.save(tmp_path / "mask.png")
    return str(tmp_path / "mask.png")


@pytest.mark.parametrize("layer", [1, 2])
def test_the_unit_that_draws_a_class_causes_it(planted, tmp_path, layer):
    out = tmp_path / "out"
    record = only(
        intervene(planted(n=6, out=out), object="square", units=1, layer=layer, shown=3, **FEW)
    )
    found = record.metrics
    assert record.choices["task"]["best"] == [DRAWS] and "inversion" not in record.choices
    assert found["removed"] == 1 and found["area_ablated"] == 0 < found["area"]
    assert found["removed_random"] < 0.5 and found["disturbed"] == 0
    assert found["inserted"] > 0.8 > 0.3 > found["inserted_before"]
    assert found["inserted"] > found["inserted_random"]
    low, high = record.intervals["area"]
    assert low <= found["area"] <= high
    with (out / "units.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[0]["unit"]) == DRAWS and float(rows[0]["alpha"]) > 0.5 and len(rows) == 4
    assert (out / "pictures.png").is_file() and (out / "pictures.pdf").is_file()


def test_what_was_searched_is_not_searched_again(planted, tmp_path):
    again = [
        intervene(planted(n=4, out=tmp_path), object="square", units=1, **FEW) for _ in range(2)
    ]
    assert again[0][0].metrics == again[1][0].metrics
    (kept,) = tmp_path.rglob("causes.safetensors")
    before = kept.stat().st_mtime_ns
    intervene(planted(n=4, out=tmp_path), object="square", units=2, **FEW)
    assert kept.stat().st_mtime_ns == before
    intervene(planted(n=4, out=tmp_path, recompute=True), object="square", units=2, **FEW)
    assert kept.stat().st_mtime_ns > before


def test_more_units_than_a_layer_has_are_refused_before_the_search(
    planted, tmp_path, mask, monkeypatch
):
    def searched(*given, **named):
        raise AssertionError("searched for causes")

    monkeypatch.setattr(intervention, "causal_units", searched)
    said = "task.units=9: layer 2 has 4 units, give at most that many"
    for door in (intervene, partial(paint, mask=mask)):
        with pytest.raises(ConfigError, match=said):
            door(planted(n=4, out=tmp_path), object="square", units=9, layer=2, **FEW)


@pytest.mark.parametrize("action", ["add", "remove"])
def test_a_class_is_painted_in_the_region_and_nowhere_else(planted, tmp_path, mask, action):
    out = tmp_path / "out"
    context = planted(n=4, out=out)
    (record,) = paint(context, object="square", mask=mask, action=action, units=1, layer=2, **FEW)
    found = record.metrics
    assert found["region_after"] == (1.0 if action == "add" else 0.0)
    assert found["changed_outside"] < 1e-9
    assert record.choices["task"]["images"] == "sample" and record.n == 1
    names = {path.name for path in out.iterdir()}
    assert {"sample_0_sample.png", "sample_0_region.png", "sample_0_painted.png"} <= names
    assert {"index.html", "pictures.png", "pictures.pdf"} <= names
    painted = torch.tensor(list(Image.open(out / "sample_0_painted.png").convert("L").tobytes()))
    corner = painted.view(R, R)[R // 2 :, R // 2 :]
    assert len(corner.unique()) == 1
    assert abs(int(corner[0, 0]) - (128 if action == "add" else 102)) < 2


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"object": "sqare"}, ConfigError, r"no such class\. Did you mean 'square'\? There are: "),
        ({"object": None}, ConfigError, "needs task.object=NAME, a class: one of ground, square"),
        ({"layer": 3}, ConfigError, r"task\.layer=3: no such layer.*There are: 1, 2"),
        ({"units": 5}, ConfigError, "layer 1 has 4 units"),
        ({"mask": None}, ConfigError, r"needs a mask: task\.mask=FILE"),
        ({"mask": "black.png"}, ConfigError, "black all over"),
        ({"mask": "wide.png"}, ConfigError, "20 x 16 pixels, expected a square.*16 x 16"),
        ({"mask": "gone.png"}, DataError, r"task\.mask=.*cannot be read"),
    ],
)
def test_what_is_not_there_is_named(planted, tmp_path, mask, changes, error, said):
    Image.new("L", (R, R), 0).save(tmp_path / "black.png")
    Image.new("L", (20, R), 255).save(tmp_path / "wide.png")
    given = {"object": "square", "mask": mask, **FEW} | changes
    if given["mask"] not in (None, mask):
        given["mask"] = str(tmp_path / given["mask"])
    with pytest.raises(error, match=said):
        paint(planted(n=2), **given)


def test_squares_cover_a_sixteenth_and_every_second_one_the_class():
    masks = torch.zeros(40, 32, 32, dtype=torch.uint8)
    masks[:, 3, 28] = 1
    found = squares(masks, 1, seed=0, number=0)
    assert found.shape == (40, 1, 32, 32) and (found.sum((1, 2, 3)) == 64).all()
    assert (found[::2, 0, 3, 28] == 1).all() and found[1::2, 0, 3, 28].mean() < 0.5
    assert torch.equal(found, squares(masks, 1, seed=0, number=0))
    assert not torch.equal(found, squares(masks, 1, seed=1, number=0))
