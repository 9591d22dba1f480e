"""Plots of curves: their description is checked, records become lines, gaps say why."""

import copy
import csv
import io
import math

import pytest

from idinvert.errors import ConfigError
from idinvert.results.cells import Curve, FilledCurves, evaluations, filled, records_of
from idinvert.results.parse import described
from idinvert.results.record import Record
from idinvert.results.render import draw_curves, page, to_csv, to_grid

SPEC = {
    "kind": "curve",
    "name": "fig",
    "title": "Figure",
    "data": {"miniature": "mini"},
    "paper_data": "FFHQ",
    "scales": {"miniature": {"train": ["data={data}", "scale=miniature"]}},
    "panels": [
        {
            "label": "A",
            "x": {"label": "weight"},
            "y": {"label": "error", "log": True},
            "lines": [
                {
                    "label": "Error",
                    "task": "reconstruction",
                    "over": "inversion.lambda_dom",
                    "values": [0, 0.5, 2],
                    "metric": ["fid", "mse"],
                    "times": 100,
                    "train": [],
                    "evaluate": [],
                    "printed": [[2, 5.3]],
                    "source": "Table 1",
                }
            ],
        },
        {"label": "B", "fill": {"term": "loss"}, "x": {"label": "nimg"}, "y": {"label": "loss"}},
    ],
    "lines": [{"label": "L", "task": "t", "x": "{term}/x", "y": "{term}/y"}],
}


def plot(*records: Record) -> FilledCurves:
    shown = filled(described(SPEC, scale="miniature"), records)
    assert isinstance(shown, FilledCurves)
    return shown


def record(weight: float = 0.0, run: str = "r", **changes) -> Record:
    plain = {
        "task": "reconstruction",
        "choices": {
            "scale": "miniature",
            "encoder": {"name": "base"},
            "inversion": {"name": "in_domain", "lambda_dom": float(weight)},
        },
        "metrics": {"mse": 0.01 * (1 + weight)},
        "n": 5,
        "nimg": 10,
        "data": {"name": "mini", "split": "test"},
        "created": "2026-01-01T00:00:00.000+00:00",  # all at once: no test depends on the clock
    }
    return Record(run=run, **{**plain, **changes})


def lines_of(*records: Record) -> list[Curve]:
    return list(plot(*records).curves)


def test_a_point_is_a_record():
    error, _ = lines_of(record(2), record(0), record(7))
    assert error.metric == "mse", "the name that records have"
    assert error.points == [(0.0, 1.0), (2.0, pytest.approx(3.0))]
    ((value, missing),) = error.missing
    assert value == 0.5
    assert missing.commands == (
        "python evaluate.py run=r task=reconstruction inversion.lambda_dom=0.5",
    )
    assert "choices.inversion.lambda_dom 0.5" in missing.reason


def test_all_points_show_the_same_metric():
    with_fid = record(0, metrics={"fid": 3.0, "mse": 0.5})
    error, _ = lines_of(with_fid, record(0.5), record(2))
    assert error.metric == "mse" and [y for _, y in error.points] == pytest.approx([50, 1.5, 3.0])


def test_a_line_is_a_series_of_the_longest_run():
    series = {"loss/x": [1.0, 2.0, 3.0], "loss/y": [4.0, math.nan, 6.0]}
    old = record(task="t", series={"loss/x": [9.0], "loss/y": [9.0]}, nimg=1)
    _, line = lines_of(old, record(task="t", series=series), record(task="t", nimg=99))
    assert line.points == [(1.0, 4.0), (3.0, 6.0)], "the record with most images that has it"
    assert line.missing == []


def test_a_place_of_another_scale_or_data_set_stays_empty():
    other = record(choices={"scale": "full", "inversion": {"lambda_dom": 0.0}})
    error, line = lines_of(other, record(data={"name": "else", "split": "test"}))
    assert error.points == [] and line.points == []
    assert error.missing[0][1].commands[0] == "python train.py data=mini scale=miniature"


def test_a_method_without_encoder_is_evaluated_through_a_run_with_one():
    of_gan = record(0.5, run="gan", choices={"scale": "miniature"}, task="other", nimg=1000)
    error, _ = lines_of(of_gan, record(0, run="enc"))
    assert {c for _, missing in error.missing for c in missing.commands} == {
        "python evaluate.py run=enc task=reconstruction inversion.lambda_dom=0.5",
        "python evaluate.py run=enc task=reconstruction inversion.lambda_dom=2",
    }


def test_the_page_and_the_points_say_where_they_come_from():
    shown = plot(record(0), record(2, run="s"))
    text = page(shown)
    assert "Error: mse, 2 points; run r (nimg 10, n 5" in text
    assert "**Caution**" in text, "two runs"
    assert "The paper (Table 1): 2: 5.3." in text
    assert "- Error at 0.5: — " in text and "- L: — " in text
    rows = to_csv(shown).splitlines()
    assert rows[0].startswith("figure,scale,panel,line,metric,x,y")
    assert len(rows) == 1 + 2 + 1 and ",paper," in rows[-1]


def test_points_of_several_seeds_are_means_with_their_deviation():
    seeds = {0: (1.0, 3.0), 1: (3.0, 3.5)}
    records = [
        record(weight, run=f"r{seed}", seed=seed, metrics={"mse": values[k]})
        for seed, values in seeds.items()
        for k, weight in enumerate((0, 2))
    ]
    shown = plot(*records)
    (error, *_) = shown.curves
    assert [y for _, y in error.points] == [200.0, 325.0], "times 100"
    assert error.spreads == pytest.approx([100 * 2**0.5, 25 * 2**0.5])
    text = page(shown)
    assert "0: 200 ± 1.4e+02, 2: 325 ± 35" in text and "**Caution**" not in text
    assert "run r0 (nimg 10, n 5, seed 0" in text and "run r1 (nimg 10, n 5, seed 1" in text
    rows = list(csv.DictReader(io.StringIO(to_csv(shown))))
    assert [one["seeds"] for one in rows] == ["2", "2", ""]
    assert float(rows[0]["deviation"]) == pytest.approx(100 * 2**0.5)
    assert draw_curves(shown, "png") != draw_curves(plot(*records[:2]), "png")


def test_evaluations_are_of_the_missing_points_or_all():
    shown = plot(record(0))
    missing = [place for place, done in evaluations(shown) if not done]
    assert [place.label for place in missing] == ["Error at 0.5", "Error at 2"]
    assert len(evaluations(shown)) == 3, "L has no command"
    assert len(to_csv(plot()).splitlines()) == 2, "columns and the paper's point"


def test_as_a_grid_it_has_a_line_a_point():
    mine = record(2, series={"loss/x": [1.0], "loss/y": [0.5]})
    shown = plot(mine, record(2, task="t", series={"loss/x": [1.0, 2.0], "loss/y": [0.5, 0.25]}))
    assert to_grid(shown) == (
        ["panel", "line", "x", "y"],
        [["A", "Error", 2.0, pytest.approx(3.0)], ["B", "L", 1.0, 0.5], ["B", "L", 2.0, 0.25]],
    )
    assert [one.task for one in records_of(shown)] == ["reconstruction", "t"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["panels"][0].update(z=1), r"panels\[0\]: unknown key 'z'"),
        (lambda s: s["panels"][0]["x"].update(logg=1), r"panels\[0\].x: unknown key 'logg'"),
        (lambda s: s["lines"][0].update(over="p"), r"lines\[0\]: a line is either x and y"),
        (lambda s: s["panels"][0]["lines"][0].pop("metric"), "a line is either x and y"),
        (lambda s: s["lines"][0].pop("y"), r"lines\[0\]: a line is either x and y"),
        (lambda s: s["panels"][0]["lines"][0].update(x="a", y="b"), "a line is either x and y"),
        (lambda s: s["panels"][1].pop("fill"), "line 'L': nothing fills {term}"),
        (lambda s: s.pop("data"), "missing data"),
        (lambda s: s.update(data={"full": "x"}), "table.data must name a data set"),
        (lambda s: s["lines"][0].pop("task"), r"lines\[0\]: missing task"),
    ],
)
def test_mistakes_are_named_with_their_place(change, message):
    spec = copy.deepcopy(SPEC)
    change(spec)
    with pytest.raises(ConfigError, match=message):
        described(spec, scale="miniature")
