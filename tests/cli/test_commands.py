"""The command line itself: typos, sweeps, what Hydra prints, errors without a traceback."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from idinvert.cli.commands import in_order, is_sweep, run_app
from idinvert.config.values import expectations, is_path_annotation
from idinvert.errors import ConfigError
from tests.config.test_values import allowed, bad_values, configurations

from .conftest import hydra_put_back


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with hydra_put_back():
        yield


Jobs = list[tuple[dict[str, Any], dict[str, list[str]]]]


@pytest.fixture
def run(monkeypatch):
    """What `evaluate.py` with these words hands to its work: configurations and given keys."""

    def go(*words, error=None, name="evaluate"):
        jobs: Jobs = []

        def work(config, *, given):
            jobs.append((config, given))
            if error is not None:
                raise error

        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        go.jobs = jobs
        run_app(name, work)
        return jobs

    return go


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tsk=reconstruction"], "tsk=reconstruction: there is no such key. Did you mean 'task'?"),
        (["inversion.step=3"], "Did you mean 'inversion.steps'?"),
        (["inversion=in_domian"], "there is no such inversion. Did you mean 'in_domain'?"),
        (["recompute=perhaps"], "recompute=perhaps"),
        (["n=many"], "got n=many, expected a whole number"),
        (["~invresion"], "Did you mean 'inversion'?"),
        (["attributes=null"], "~attributes"),
        (["seed=1,2"], "add -m"),
        (["seed=[1"], "'[1'"),
        (["data=folder"], "data.path"),
        (["-m", "inversion=encoder,in_domian"], "Did you mean 'in_domain'?"),
        (["-m", "seed=1,2", "inversion.step=1,2"], "Did you mean 'inversion.steps'?"),
    ],
)
def test_what_is_mistyped_is_said_before_any_work(run, capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.err.startswith("error: ") and message in printed.err
    assert "Traceback" not in printed.err + printed.out
    assert run.jobs == [], "no job starts, of a sweep either"
    assert not list(Path().iterdir())


def as_word(value: Any, takes: Any) -> str | None:
    """A bad value as it is typed; None where what is typed is a text that the key takes."""
    if value is None or isinstance(value, list | dict):
        return json.dumps(value)
    text = "true" if value is True else str(value)
    return None if allowed(text, takes) else text or "''"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_a_bad_value_of_each_key_is_one_line_and_leaves_nothing(program, run, capsys):
    """Each key of each choice is typed with a value that it does not take."""
    typed = set()
    for words, config in configurations(program):
        for key, _, takes in list(expectations(config)):
            if (key, takes) in typed or is_path_annotation(takes):
                continue  # a path is text, whatever it is
            bad = next(filter(None, (as_word(v, takes) for v in bad_values(takes))), None)
            if bad is None:
                continue
            typed.add((key, takes))
            with pytest.raises(SystemExit) as caught:
                run(*words, f"{key}={bad}", name=program)
            printed = capsys.readouterr()
            told = (key, bad, printed.err)
            assert caught.value.code == 2 and printed.out == "", told
            (line,) = printed.err.strip().splitlines()
            assert line.startswith("error: ") and key.rsplit(".")[-1] in line, told
            assert run.jobs == [] and not list(Path().iterdir()), told
    assert len(typed) > 150


def test_work_gets_plain_values_and_what_was_given(run):
    words = ("n=4", "inversion.steps=2", "data.test=8", "data=faces_mini", "~attributes")
    ((config, given),) = run(*words, "+trainer.limit_val_batches=1")
    assert type(config) is dict and type(config["inversion"]) is dict
    assert config["n"] == 4 and config["data"]["resolution"] == 32, "resolved"
    assert config["attributes"] is None, "a group can be left out"
    assert given == {
        "n": ["n"],
        "inversion": ["inversion.steps"],
        "data": ["data.test", "data"],
        "attributes": ["attributes"],
        "trainer": ["trainer.limit_val_batches"],
    }


def test_a_sweep_runs_every_combination(run):
    jobs = run("-m", "seed=1,2", "inversion=encoder,in_domain", "n=5")
    found = [(config["seed"], "lambda_dom" in config["inversion"]) for config, _ in jobs]
    assert sorted(found) == [(1, False), (1, True), (2, False), (2, True)]
    assert all(
        config["n"] == 5 and set(given) == {"seed", "inversion", "n"} for config, given in jobs
    )


def test_a_single_jobs_error_is_one_line(run, capsys):
    with pytest.raises(SystemExit) as caught:
        run("n=4", error=ConfigError("that cannot be"))
    assert caught.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == "error: that cannot be"


def test_the_configuration_of_one_job_is_printed_readably_and_of_a_sweep_it_is_not(run, capsys):
    assert run("--cfg", "job", "inversion.steps=7") == []
    lines = capsys.readouterr().out.splitlines()
    assert "inversion:" in lines and "  steps: 7" in lines and "task:" in lines
    assert not any(line.startswith("hydra:") for line in lines)
    assert run("--cfg", "job", "experiment=fig10_lambda_dom", "run=abc", "row=4") == []
    printed = capsys.readouterr().out
    assert "lambda_dom: 10" in printed and "sweep: null" in printed and "row: null" in printed
    with pytest.raises(SystemExit) as caught:
        run("seed=1,2", "-m", "--cfg", "job")
    assert caught.value.code == 2
    assert "--cfg shows one job, -m starts many" in capsys.readouterr().err


def test_tab_completion_installs_and_knows_the_groups(run, capsys, monkeypatch):
    for shell in ("bash", "zsh", "fish"):
        assert run("-sc", f"install={shell}") == []
        assert "complet" in capsys.readouterr().out
    line = "python evaluate.py inversion="
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    run("-sc", "query=bash")
    assert {"inversion=encoder", "inversion=in_domain"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("given", "expected", "sweeps"),
    [
        ("-m a=1 b=2", "a=1 b=2 NEW -m", True),
        ("a=1 b=2 --multirun", "a=1 b=2 NEW --multirun", True),
        ("a=1 -m ++b=2", "a=1 ++b=2 NEW -m", True),
        ("a=1 -m --cfg job ~b", "a=1 ~b NEW -m --cfg job", None),
        ("--cfg=job -m", "NEW --cfg=job -m", None),
        ("-c all a=1 -m", "a=1 NEW -c all -m", None),
        ("--info -m a=1", "a=1 NEW --info -m", None),
        ("--info +a=1", "+a=1 NEW --info", False),
        ("-m --help", "NEW -m --help", False),
        ("--config-dir=x --hydra-help -m a=1,2", "a=1,2 NEW --config-dir=x --hydra-help -m", False),
        ("", "NEW", False),
    ],
)
def test_any_order_of_overrides_and_flags_can_be_typed(given, expected, sweeps):
    """Overrides stand together before the flags; -m makes a sweep, of which no job is shown."""
    words = given.split()
    assert in_order(words, ["c=3"]) == expected.replace("NEW", "c=3").split()
    if sweeps is not None:
        assert is_sweep(words) is sweeps
        return
    with pytest.raises(ConfigError, match=r"shows one job, -m starts many.* row=0"):
        is_sweep(words)


@pytest.mark.parametrize(
    ("program", "word"), [("train", "accumulate=4"), ("evaluate", "changes no result")]
)
def test_out_of_memory_is_one_line_with_what_needs_less(run, capsys, program, word):
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
    with pytest.raises(SystemExit) as caught:
        run(error=error, name=program)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert caught.value.code == 2
    assert said.startswith("error: out of memory (CUDA out of memory)")
    assert word in said and "batch_size=" in said
