"""The description of a table is checked, and fitted to a scale."""

import copy
import re
from typing import Any

import pytest

from idinvert.errors import ConfigError
from idinvert.results.cells import filled, records_of
from idinvert.results.parse import described
from idinvert.results.record import Record
from idinvert.results.render import page, tell, to_grid
from idinvert.results.spec import Place, Table

SPEC: dict[str, Any] = {
    "name": "t",
    "title": "Table",
    "scales": {
        "miniature": {"notes": ["small"], "train": ["data={data}", "scale={scale}"]},
        "full": None,
    },
    "groups": [{"label": "Face", "data": {"miniature": "mini", "full": "ffhq"}, "paper_data": "F"}],
    "columns": [{"label": "MSE", "metric": "mse", "better": "down"}],
    "rows": [
        {
            "label": "Ours",
            "train": ["experiment=domain_guided"],
            "evaluate": ["inversion=in_domain", "inversion.steps=7"],
            "printed": {"Face": {"MSE": 0.05}},
        }
    ],
}


def table_of(spec: dict[str, Any], scale: str = "miniature") -> Table:
    table = described(spec, scale=scale)
    assert isinstance(table, Table)
    return table


def place_of(table: Table, row: int = 0, column: int = 0) -> Place:
    return table.place(table.rows[row], table.groups[0], table.columns[column])


def test_a_table_is_fitted_to_its_scale():
    small, full = table_of(SPEC), table_of(SPEC, "full")
    assert place_of(small).where == {
        "task": "reconstruction",
        "data.split": "test",
        "data.name": "mini",
        "choices.objective": "domain_guided",
        "choices.scale": "miniature",
        "choices.inversion": "in_domain",
        "choices.inversion.steps": 7,
    }
    words = ["experiment=domain_guided", "data=mini", "scale=miniature"]
    assert small.trainings() == [words]
    evaluate = "task=reconstruction inversion=in_domain inversion.steps=7"
    assert place_of(small).commands() == (
        "python train.py " + " ".join(words),
        f"python evaluate.py run=RUN {evaluate}",
    )
    assert place_of(small).commands("abc") == (f"python evaluate.py run=abc {evaluate}",)
    assert (small.notes, full.notes) == (["small"], [])
    assert place_of(full).data == "ffhq" and full.columns[0].metric == ["mse"]
    assert full.columns[0].arrow == "↓"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(rowss=[]), "table: unknown key 'rowss'; did you mean 'rows'"),
        (lambda s: s.pop("title"), "table: missing title"),
        (lambda s: s["rows"][0].update(trian=[]), r"rows\[0\]: unknown key 'trian'; did.*'train'"),
        (lambda s: s["rows"][0].pop("label"), r"table.rows\[0\]: missing label"),
        (lambda s: s["rows"][0].update(train="a=b"), r"rows\[0\].train: expected a list of over"),
        (lambda s: s["columns"][0].update(better="less"), r"table.columns\[0\].*'less'"),
        (lambda s: s["columns"][0].update(metric=[]), r"table.columns\[0\].*at least one"),
        (lambda s: s["groups"][0].update(data={"full": "x"}), r"table.groups\[0\].data.*miniature"),
        (lambda s: s["rows"][0]["printed"].update(Cat={}), r"rows\[0\].printed.*'Cat'"),
        (lambda s: s["rows"][0]["printed"]["Face"].update(FID=1), r"rows\[0\].printed.*'FID'"),
        (lambda s: s["scales"].pop("miniature"), "knows the scales full; got 'miniature'"),
        (lambda s: s["scales"]["miniature"].update(n=1), "table.scales.miniature: unknown key 'n'"),
        (lambda s: s["groups"][0].update(columns=["FID"]), r"groups\[0\].columns: no column 'FID'"),
        (lambda s: s["rows"][0].update(evaluate=["run={it}"]), r"row 'Ours': nothing fills {it}"),
        (lambda s: s["rows"].append("Ours"), r"table.rows\[1\]: expected keys and values"),
        (lambda s: s.update(kind="pie"), "table.kind is 'pie': expected table or curve"),
    ],
)
def test_mistakes_are_named_with_their_place(change, message):
    spec = copy.deepcopy(SPEC)
    change(spec)
    with pytest.raises(ConfigError, match=message):
        described(spec, scale="miniature")


def test_a_row_selects_what_its_overrides_say():
    spec = copy.deepcopy(SPEC)
    spec["rows"][0]["evaluate"] = ["inversion.lr={lr}", "inversion.seed=null"]
    spec["fill"] = {"lr": 0.01}
    spec["scales"]["miniature"]["fill"] = {"lr": 0.1}
    for scale, lr in (("miniature", 0.1), ("full", 0.01)):
        place = place_of(table_of(spec, scale))
        assert place.where["choices.inversion.lr"] == lr
        assert place.where["choices.inversion.seed"] is None
        assert f"inversion.lr={lr}" in place.evaluate


def test_what_is_shared_stands_once_and_the_nearest_word_counts():
    spec = copy.deepcopy(SPEC)
    spec["fill"] = {"generator": "one", "encoder": "base"}
    spec["scales"]["miniature"]["train"] = []
    spec["row"] = {"train": ["encoder={encoder}", "generator.path={generator}"]}
    spec["groups"][0]["fill"] = {"generator": "two"}
    del spec["rows"][0]["train"]
    more = {"fill": {"encoder": "resnet18"}, "absent": {"miniature": "there is none"}}
    spec["rows"].append({"label": "Other", **more})
    table = table_of(spec)
    assert place_of(table).train == ["encoder=base", "generator.path=two"]
    assert place_of(table, row=1).train == ["encoder=resnet18", "generator.path=two"]
    assert table.trainings() == [place_of(table).train], "none for what cannot be"


def test_a_group_may_have_some_of_the_columns_and_columns_share_a_label():
    spec = copy.deepcopy(SPEC)
    spec["columns"] += [
        {"part": part, "label": "FID", "metric": "fid", "better": "down", "task": task}
        for part, task in (("Inversion", "reconstruction"), ("Interpolation", "interpolation"))
    ]
    spec["groups"][0]["columns"] = ["MSE", "Interpolation FID"]
    table = table_of(spec)
    mse, fid = table.columns_of(table.groups[0])
    assert [mse.name, fid.name] == ["MSE", "Interpolation FID"]
    tasks = [table.place(table.rows[0], table.groups[0], column).task for column in (mse, fid)]
    assert tasks == ["reconstruction", "interpolation"]


def test_as_a_grid_it_has_a_line_a_method_with_measured_beside_printed_values():
    spec = copy.deepcopy(SPEC)
    spec["columns"].insert(0, {"label": "FID", "metric": ["fid", "fd_x"], "better": "down"})
    theirs = {"where": {"run": "b"}, "printed": {"Face": {"FID": 18.6}}}
    spec["rows"] = [
        {"label": "Ours", "where": {"run": "a"}, "printed": {"Face": {"MSE": 0.05}}},
        {"label": "Theirs", **theirs},
    ]
    mine = Record(
        run="a",
        task="reconstruction",
        choices={"scale": "miniature"},
        data={"name": "mini", "split": "test"},
        metrics={"fd_x": 1.5, "mse": 0.25},
        n=7,
        nimg=64,
    )
    shown = filled(table_of(spec), [mine])
    columns, lines = to_grid(shown)
    heads = ["fd_x ↓ (mini)", "FID (paper, F)", "MSE ↓ (mini)", "MSE (paper, F)"]
    assert columns == ["method", *(f"Face {head}" for head in heads)]
    assert lines == [["Ours", 1.5, None, 0.25, 0.05], ["Theirs", None, 18.6, None, None]]
    assert records_of(shown) == [mine]


def test_the_best_of_a_column_that_aims_at_native_codes_is_the_nearest_to_one():
    spec = copy.deepcopy(SPEC)
    spec["columns"] = [{"label": "d", "metric": "code_distance", "better": "native", "ours": True}]
    values = {"near": 1.25, "mean": 0.5, "far": 60.0}
    spec["rows"] = [{"label": name, "where": {"run": name}} for name in values]
    facts: dict[str, Any] = {"task": "reconstruction", "choices": {"scale": "miniature"}}
    facts |= {"data": {"name": "mini", "split": "test"}, "n": 7, "nimg": 64}
    records = [
        Record(run=name, metrics={"code_distance": value}, **facts)
        for name, value in values.items()
    ]
    text = page(filled(table_of(spec), records))
    assert (
        "**1.250**" in text
        and text.count("**1.") == 1
        and "**0.5" not in text
        and "code_distance → 1, ours" in text
    )


def test_on_a_terminal_a_table_is_aligned_within_its_width(monkeypatch, capsys):
    head = "| Method | MSE ↓ (faces) | paper (FFHQ, MSE) ↓ | SSIM ↑ (faces) | device |"
    rows = ["| Base | 0.0269 ± 0.0035 | 0.119 | **0.633 ± 0.025** | cpu |"] * 2
    command = f"- `python train.py {'data.name=x ' * 9}`"
    text = "\n".join([head, "| --- | ---: | ---: | ---: | ---: |", *rows, "", command, ""])
    tell(text)
    assert capsys.readouterr().out == f"{text}\n", "as it is, where it is written to a file"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "50")
    tell(text)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert command in said, "whole, to be pasted"
    assert all(len(line) <= 50 for line in said if line != command)
    assert len([line for line in said if line.startswith("Method")]) == 2, "its second half below"
    assert len([line for line in said if line.startswith("Base")]) == 4
    assert " ".join(said).count("0.633 ± 0.025") == 2 and "**" not in " ".join(said)
