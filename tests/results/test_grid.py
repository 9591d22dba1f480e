"""Tables and curves as plain columns and lines of numbers."""

from idinvert.results.curve import curves_from_dict
from idinvert.results.fill import fill
from idinvert.results.grid import records_of, to_grid
from idinvert.results.record import Record
from idinvert.results.table import table_from_dict
from idinvert.results.trace import trace

SPEC = {
    "name": "t",
    "title": "Table",
    "scales": {"miniature": None},
    "groups": [{"label": "Face", "data": {"miniature": "mini"}, "paper_data": "FFHQ"}],
    "columns": [
        {"label": "FID", "metric": ["fid", "fd_attributes"], "better": "down"},
        {"label": "MSE", "metric": "mse", "better": "down"},
    ],
    "rows": [
        {"label": "Ours", "where": {"run": "a"}, "printed": {"Face": {"MSE": 0.05}}},
        {"label": "Theirs", "where": {"run": "b"}, "printed": {"Face": {"FID": 18.6}}},
    ],
}
CURVES = {
    "kind": "curve",
    "name": "fig",
    "title": "Figure",
    "scales": {"miniature": None},
    "data": {"miniature": "mini"},
    "paper_data": "FFHQ",
    "panels": [{"label": "A", "x": {"label": "nimg"}, "y": {"label": "loss"}}],
    "lines": [{"label": "L", "where": {"task": "t"}, "x": "loss/x", "y": "loss/y"}],
}


def record(run: str, **more) -> Record:
    plain = {"task": "t", "choices": {"encoder": {"name": "base"}}, "n": 7, "nimg": 64}
    data = {"name": "mini", "split": "test"}
    return Record(run=run, data=data, **{**plain, "metrics": {}, **more})


def test_a_line_is_a_method_with_the_papers_figures_beside_the_measured() -> None:
    mine = record("a", metrics={"fd_attributes": 1.5, "mse": 0.25})
    shown = fill(table_from_dict(SPEC, scale="miniature"), [mine])
    columns, lines = to_grid(shown)
    assert columns == [
        "method",
        "Face fd_attributes ↓ (mini)",
        "Face FID (paper, FFHQ)",
        "Face MSE ↓ (mini)",
        "Face MSE (paper, FFHQ)",
    ]
    assert lines == [["Ours", 1.5, None, 0.25, 0.05], ["Theirs", None, 18.6, None, None]]
    assert records_of(shown) == [mine]


def test_a_line_of_a_curve_is_a_point() -> None:
    mine = record("a", series={"loss/x": [1.0, 2.0], "loss/y": [0.5, 0.25]})
    shown = trace(curves_from_dict(CURVES, scale="miniature"), [mine])
    assert to_grid(shown) == (
        ["panel", "line", "x", "y"],
        [["A", "L", 1.0, 0.5], ["A", "L", 2.0, 0.25]],
    )
    assert records_of(shown) == [mine]
