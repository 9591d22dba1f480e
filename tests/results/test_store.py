"""Records on disk: concurrent writers, torn lines, unknown fields, broken lines."""

import dataclasses
import json
import math
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import idinvert
from idinvert.errors import DataError
from idinvert.results.record import Record, append, from_dict, read_records, to_dict

WRITER = """
import sys
from idinvert.results.record import Record
from idinvert.results.record import append
for k in range(int(sys.argv[3])):
    append(sys.argv[1], Record(
        run=f"{sys.argv[2]}-{k}", task="t", choices={"text": "x" * 5000}, metrics={"mse": k},
        n=1, nimg=0, data={},
    ))
"""


def record(**changes) -> Record:
    plain = {
        "run": "a1b2",
        "task": "reconstruction",
        "choices": {"inversion": {"name": "in_domain", "steps": 100}},
        "metrics": {"mse": 0.1, "psnr": 16.0},
        "n": 500,
        "nimg": 200_000,
        "data": {"name": "faces_mini"},
        "seed": 3,
    }
    return Record(**{**plain, **changes})


def test_a_record_comes_back_as_it_went(tmp_path):
    path = tmp_path / "new" / "folder" / "records.jsonl"
    first, second = record(), record(run="ünï", protocol={"mse": "σ"}, seed=None)
    append(path, first)
    append(path, second)
    assert read_records(path) == [first, second]
    assert path.read_text().count("\n") == 2


def test_two_processes_can_append_at_once(tmp_path):
    path, source = tmp_path / "records.jsonl", str(Path(idinvert.__file__).parents[1])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, "40"], env={"PYTHONPATH": source}
        )
        for name in ("one", "two")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    runs = [found.run for found in read_records(path)]
    assert sorted(runs) == sorted(f"{name}-{k}" for name in ("one", "two") for k in range(40))
    for name in ("one", "two"):  # each writer's own order is kept
        assert [run for run in runs if run.startswith(name)] == [f"{name}-{k}" for k in range(40)]


def test_a_torn_last_line_is_left_out_and_then_cut_off(tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, record(run="whole"))
    with path.open("ab") as file:
        file.write('{"run": "torn", "task": "ü'.encode()[:-1])  # within a letter
    with pytest.warns(UserWarning, match=r"records\.jsonl: the last line is unfinished"):
        assert [found.run for found in read_records(path)] == ["whole"]
    with pytest.warns(UserWarning, match="cut off"):
        append(path, record(run="next"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [found.run for found in read_records(path)] == ["whole", "next"]


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, record(run="first"))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert [found.run for found in read_records(path)] == ["first"]
    append(path, record(run="second"))
    assert [found.run for found in read_records(path)] == ["first", "second"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ('{"run": "x", "ta', "not a record"),
        ("[1, 2]", "expected an object, got list"),
        ('{"run": "x"}', "record without task, choices, metrics, n, nimg, data"),
    ],
)
def test_a_broken_line_in_the_middle_names_file_and_line(tmp_path, broken, why):
    path = tmp_path / "records.jsonl"
    append(path, record())
    with path.open("a") as file:
        file.write(broken + "\n")
    append(path, record(run="after"))
    with pytest.raises(DataError, match=rf"records\.jsonl, line 2: .*{why}"):
        read_records(path)


def test_wrong_types_are_named():
    plain = to_dict(record())
    for field in dataclasses.fields(Record):
        for wrong in (["500"], "500"):
            text = isinstance(wrong, str) and field.type is str
            if field.name != "extra" and not text:
                with pytest.raises(DataError, match=f"'{field.name}' of a record is "):
                    from_dict({**plain, field.name: wrong})
    with pytest.raises(DataError, match="'mse' of a record is True"):
        from_dict({**plain, "metrics": {"mse": True}})


def test_fields_of_a_later_version_are_kept(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({**to_dict(record()), "energy": {"joule": 5}}) + "\n")
    (found,) = read_records(path)
    assert found.extra == {"energy": {"joule": 5}}
    append(path, found)  # the same line again: counts once
    assert read_records(path) == [found]
    assert json.loads(path.read_text().splitlines()[1])["energy"] == {"joule": 5}


def test_figures_that_are_not_finite_are_valid_json(tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, record(metrics={"mse": math.nan, "psnr": math.inf, "ssim": 1}))
    assert json.loads(path.read_text())["metrics"] == {"mse": None, "psnr": None, "ssim": 1.0}
    (found,) = read_records(path)
    assert math.isnan(found.metrics["mse"])
    assert math.isnan(found.metrics["psnr"])


def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "records.jsonl"
    with pytest.raises(DataError, match="run a1b2 cannot be written"):
        append(path, record(choices={"object": object()}))
    assert not path.exists()


def test_folders_are_searched_and_missing_ones_are_empty(tmp_path):
    append(tmp_path / "b" / "records.jsonl", record(run="b"))
    append(tmp_path / "a" / "deep" / "records.jsonl", record(run="a"))
    append(tmp_path / "a" / "other.jsonl", record(run="not searched"))
    assert [found.run for found in read_records(tmp_path)] == ["a", "b"]
    assert read_records([tmp_path / "nothing", tmp_path / "nothing.jsonl"]) == []
    both = read_records([tmp_path, tmp_path / "a" / "other.jsonl"])
    assert [found.run for found in both] == ["a", "b", "not searched"]


def test_series_are_kept_and_written_only_where_there_are_any(tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, record())
    curve = {"pose/recall": [0.0, 0.5, 1.0], "pose/precision": [1.0, math.nan, 0.25]}
    append(path, record(run="b", series=curve, evaluation="12ab"))
    plain, with_series = (json.loads(line) for line in path.read_text().splitlines())
    assert "series" not in plain and "evaluation" not in plain
    assert with_series["series"]["pose/precision"] == [1.0, None, 0.25]
    found = read_records(path)[1]
    assert found.series["pose/recall"] == [0.0, 0.5, 1.0] and found.evaluation == "12ab"
    assert math.isnan(found.series["pose/precision"][1])
    assert read_records(path)[0].series == {}


@pytest.mark.parametrize(
    ("series", "why"),
    [
        ([1, 2], "'series' of a record is list"),
        ({"a": 3}, "series 'a' of a record is int, not a list"),
        ({"a": ["x"]}, "a number in series 'a' of a record is 'x'"),
    ],
)
def test_broken_series_are_named(series, why):
    with pytest.raises(DataError, match=why):
        from_dict({**to_dict(record()), "series": series})


def test_reference_and_intervals_are_kept_and_old_distances_read_as_same(tmp_path):
    path = tmp_path / "records.jsonl"
    plain = {"task": "t", "choices": {}, "n": 1, "nimg": 0, "data": {}}
    new = Record(
        run="new",
        metrics={"swd": 1.0},
        reference="disjoint",
        intervals={"swd": (0.5, 1.5)},
        **plain,
    )
    old = Record(run="old", metrics={"swd": 1.0}, **plain)
    mean = Record(run="mean", metrics={"mse": 1.0}, **plain)
    for one in (new, old, mean):
        append(path, one)
    assert "reference" not in path.read_text().splitlines()[1]
    read = read_records(path)
    assert read[0] == new and [one.reference for one in read] == ["disjoint", "same", ""]
    path.write_text(path.read_text().replace("[0.5, 1.5]", "[0.5]"))
    with pytest.raises(DataError, match=r"interval 'swd' of a record is \[0.5\], not a low"):
        read_records(path)
