"""A sweep measures nothing twice: evaluations are told apart by what their figures depend on."""

import copy
from typing import Any

import pytest

from idinvert.cli import evaluate as program
from idinvert.cli.evaluate import cached_records
from idinvert.config.compose import compose_plain
from idinvert.results.record import Record, append, read_records


@pytest.fixture(scope="module")
def composed():
    return compose_plain("evaluate", ["task=reconstruction"]) | {"n": 8, "batch_size": 4}


def record(**changes: Any) -> Record:
    plain: dict[str, Any] = {"run": "r", "task": "t", "choices": {}, "metrics": {"mse": 1.0}}
    return Record(**{**plain, "n": 1, "nimg": 1, "data": {}, **changes})


def test_the_last_record_of_each_choice_is_reused(tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, record(evaluation="x", metrics={"mse": 1.0}))
    append(path, record(evaluation="x", metrics={"mse": 2.0}))
    append(path, record(evaluation="x", choices={"offset": "none"}))
    append(path, record(evaluation="y"))
    assert [one.metrics["mse"] for one in cached_records("x", path)] == [2.0, 1.0]
    assert cached_records("z", path) == []


def test_a_repeated_sweep_does_nothing_and_a_single_command_does_all(
    composed, tmp_path, monkeypatch, capsys
):
    calls = []

    def task(context):
        calls.append(context.config["n"])
        return [record(n=context.config["n"])]

    monkeypatch.setattr(program, "bind", lambda node, key: task)
    config = copy.deepcopy(composed)
    config["system"]["outputs"] = str(tmp_path)
    config["system"]["num_threads"] = None
    row = {"row": ["row"]}
    first = program.evaluate(config, given=row)
    assert program.evaluate(config, given=row) == first and calls == [8]
    assert "measured before" in capsys.readouterr().out
    program.evaluate(config | {"n": 5}, given=row)
    program.evaluate(config | {"recompute": True}, given=row)
    program.evaluate(config, given={})
    assert calls == [8, 5, 8, 8]
    assert len(read_records(tmp_path / "records.jsonl")) == 4
