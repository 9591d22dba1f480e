"""The description of a table is checked, and fitted to a scale."""

import copy

import pytest

from idinvert.errors import ConfigError
from idinvert.results.table import table_from_dict

SPEC = {
    "name": "t",
    "title": "Table",
    "where": {"task": "reconstruction", "n": 5},
    "scales": {
        "miniature": {"where": {"n": 7}, "notes": ["small"], "arguments": "data={data}  {scale}"},
        "full": None,
    },
    "groups": [{"label": "Face", "data": {"miniature": "mini", "full": "ffhq"}, "paper_data": "F"}],
    "columns": [{"label": "MSE", "metric": "mse", "better": "down", "where": {"split": "val"}}],
    "rows": [
        {
            "label": "Ours",
            "where": {"choices.inversion": "in_domain"},
            "train": "python train.py {arguments}",
            "printed": {"Face": {"MSE": 0.05}},
        }
    ],
}


def test_a_table_is_fitted_to_its_scale():
    small, full = table_from_dict(SPEC, scale="miniature"), table_from_dict(SPEC, scale="full")
    (row,), (group,), (column,) = small.rows, small.groups, small.columns
    assert small.clauses(row, group, column) == {
        "task": "reconstruction",
        "n": 7,
        "data.name": "mini",
        "split": "val",
        "choices.inversion": "in_domain",
    }
    command = small.command(row.train, row, group, column)
    assert command == "python train.py data=mini miniature"
    assert small.train_commands() == [command]
    assert (small.notes, full.notes) == (["small"], [])
    assert full.groups[0].data == "ffhq"
    assert full.where["n"] == 5
    assert column.metric == ["mse"]
    assert column.arrow == "↓"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(rowss=[]), "table: unknown key 'rowss'; did you mean 'rows'"),
        (lambda s: s.pop("title"), "table: missing title"),
        (lambda s: s["rows"][0].update(wher={}), r"table.rows\[0\]: unknown key 'wher'"),
        (lambda s: s["rows"][0].pop("where"), r"table.rows\[0\]: missing where"),
        (lambda s: s["columns"][0].update(better="less"), r"table.columns\[0\].*'less'"),
        (lambda s: s["columns"][0].update(metric=[]), r"table.columns\[0\].*at least one"),
        (lambda s: s["groups"][0].update(data={"full": "x"}), r"table.groups\[0\].data.*miniature"),
        (lambda s: s["rows"][0]["printed"].update(Cat={}), r"rows\[0\].printed.*'Cat'"),
        (lambda s: s["rows"][0]["printed"]["Face"].update(FID=1), r"rows\[0\].printed.*'FID'"),
        (lambda s: s["scales"].pop("miniature"), "knows the scales full; got 'miniature'"),
        (lambda s: s["scales"]["miniature"].update(n=1), "table.scales.miniature: unknown key 'n'"),
        (lambda s: s["groups"][0].update(columns=["FID"]), r"groups\[0\].columns: no column 'FID'"),
        (lambda s: s["rows"][0].update(evaluate="run {it}"), r"row 'Ours': nothing fills {it}"),
        (
            lambda s: s["rows"][0]["where"].update(x="{it}"),
            "nothing fills {it} in where, x",
        ),
        (lambda s: s["rows"].append("Ours"), r"table.rows\[1\]: expected keys and values"),
    ],
)
def test_mistakes_are_named_with_their_place(change, message):
    spec = copy.deepcopy(SPEC)
    change(spec)
    with pytest.raises(ConfigError, match=message):
        table_from_dict(spec, scale="miniature")


def test_a_clause_takes_the_value_that_the_command_says():
    spec = copy.deepcopy(SPEC)
    spec["rows"][0]["where"]["choices.inversion.lr"] = "{lr}"
    spec["rows"][0]["evaluate"] = "evaluate lr={lr}"
    spec["fill"] = {"lr": 0.01}
    spec["scales"]["miniature"]["fill"] = {"lr": 0.1}
    for scale, lr in (("miniature", 0.1), ("full", 0.01)):
        table = table_from_dict(spec, scale=scale)
        (row,), (group,), (column,) = table.rows, table.groups, table.columns
        assert table.clauses(row, group, column)["choices.inversion.lr"] == lr
        assert table.command(row.evaluate, row, group, column) == f"evaluate lr={lr}"


def test_what_is_shared_stands_once_and_the_nearest_word_counts():
    spec = copy.deepcopy(SPEC)
    spec["fill"] = {"generator": "one", "encoder": "base"}
    spec["row"] = {"where": {"choices.objective": "x"}, "train": "train {encoder} {generator}"}
    spec["groups"][0]["fill"] = {"generator": "two"}
    del spec["rows"][0]["train"]
    spec["rows"].append(
        {
            "label": "Other",
            "where": {"choices.inversion": "free", "choices.objective": "y"},
            "fill": {"encoder": "resnet18"},
            "absent": {"miniature": "there is none"},
        }
    )
    table = table_from_dict(spec, scale="miniature")
    (first, second), (group,), (column,) = table.rows, table.groups, table.columns
    place = (group, column)
    assert table.command(first.train, first, *place) == "train base two"
    assert table.command(second.train, second, *place) == "train resnet18 two"
    assert table.clauses(first, *place)["choices.objective"] == "x"
    assert table.clauses(second, *place)["choices.objective"] == "y"
    assert table.clauses(first, *place)["choices.inversion"] == "in_domain"
    assert table.train_commands() == ["train base two"], "none for what cannot be"


def test_a_group_may_have_some_of_the_columns_and_columns_share_a_label():
    spec = copy.deepcopy(SPEC)
    spec["columns"] += [
        {"part": part, "label": "FID", "metric": "fid", "better": "down", "where": {"task": task}}
        for part, task in (("Inversion", "reconstruction"), ("Interpolation", "interpolation"))
    ]
    spec["groups"][0]["columns"] = ["MSE", "Interpolation FID"]
    spec["row"] = {"evaluate": "evaluate {task}"}
    table = table_from_dict(spec, scale="miniature")
    (row,), (group,) = table.rows, table.groups
    mse, fid = table.columns_of(group)
    assert [mse.name, fid.name] == ["MSE", "Interpolation FID"]
    assert table.command(row.evaluate, row, group, fid) == "evaluate interpolation"
    assert table.command(row.evaluate, row, group, mse) == "evaluate reconstruction"
