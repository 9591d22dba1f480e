"""The command line itself: typos, sweeps, what Hydra prints, errors without a traceback."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from idinvert.cli.commands import in_order, is_override, is_sweep, run_app
from idinvert.config.compose import given_keys
from idinvert.errors import ConfigError

from .conftest import hydra_put_back


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with hydra_put_back():
        yield


Jobs = list[tuple[dict[str, Any], dict[str, list[str]]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Jobs]:
    """What `evaluate.py` with these words hands to its work: configurations and given keys."""

    def go(*words: str, error_at: int | None = None, name: str = "evaluate") -> Jobs:
        jobs: Jobs = []

        def work(config: dict[str, Any], *, given: dict[str, list[str]]) -> None:
            jobs.append((config, given))
            if len(jobs) - 1 == error_at:
                raise ConfigError("that cannot be")

        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        go.jobs = jobs
        run_app(name, work)
        return jobs

    return go


def left_behind() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tsk=reconstruction"], "tsk=reconstruction: there is no such key. Did you mean 'task'?"),
        (["inversion.step=3"], "Did you mean 'inversion.steps'?"),
        (["inversion=in_domian"], "there is no such inversion. Did you mean 'in_domain'?"),
        (["recompute=perhaps"], "recompute=perhaps"),
        (["n=many"], "'many'"),
        (["~invresion"], "Did you mean 'inversion'?"),
        (["attributes=null"], "~attributes"),
        (["seed=1,2"], "add -m"),
        (["seed=[1"], "'[1'"),
        (["data=folder"], "data.path"),
        (["-m", "inversion=encoder,in_domian"], "Did you mean 'in_domain'?"),
        (["-m", "seed=1,2", "inversion.step=1,2"], "Did you mean 'inversion.steps'?"),
    ],
)
def test_what_is_mistyped_is_said_before_any_work(
    run: Callable[..., Jobs], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words)
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.err.startswith("error: ") and message in printed.err
    assert "Traceback" not in printed.err + printed.out
    assert run.jobs == [], "no job starts, of a sweep either"
    assert left_behind() == []


def test_work_gets_plain_values_and_what_was_given(run: Callable[..., Jobs]) -> None:
    ((config, given),) = run("n=4", "inversion.steps=2", "data.test=8", "data=faces_mini")
    assert type(config) is dict and type(config["inversion"]) is dict
    assert config["n"] == 4 and config["data"]["resolution"] == 32, "resolved"
    assert given == {
        "n": ["n"],
        "inversion": ["inversion.steps"],
        "data": ["data.test", "data"],
    }


def test_a_group_can_be_left_out(run: Callable[..., Jobs]) -> None:
    ((config, given),) = run("~attributes")
    assert config["attributes"] is None and given == {"attributes": ["attributes"]}


def test_a_sweep_runs_every_combination(run: Callable[..., Jobs]) -> None:
    jobs = run("-m", "seed=1,2", "inversion=encoder,in_domain", "n=5")
    found = [(config["seed"], "lambda_dom" in config["inversion"]) for config, _ in jobs]
    assert sorted(found) == [(1, False), (1, True), (2, False), (2, True)]
    assert all(
        config["n"] == 5 and set(given) == {"seed", "inversion", "n"} for config, given in jobs
    )


def test_a_single_jobs_error_is_one_line(
    run: Callable[..., Jobs], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run("n=4", error_at=0)
    assert caught.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == "error: that cannot be"


def test_one_failing_job_of_a_sweep_does_not_keep_the_others_from_running(
    run: Callable[..., Jobs], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run("-m", "seed=1,2,3", error_at=1)
    assert [config["seed"] for config, _ in run.jobs] == [1, 2, 3]
    assert caught.value.code != 0
    printed = capsys.readouterr()
    assert "error: that cannot be" in printed.err and "Traceback" not in printed.err
    assert "1  seed=2  failed  that cannot be" in printed.out.splitlines()


def test_the_configuration_is_printed_readably(
    run: Callable[..., Jobs], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--cfg", "job", "inversion.steps=7") == []
    lines = capsys.readouterr().out.splitlines()
    assert "inversion:" in lines and "  steps: 7" in lines and "task:" in lines
    assert not any(line.startswith("hydra:") for line in lines)


def test_the_configuration_of_one_row_of_a_sweep_is_the_jobs(
    run: Callable[..., Jobs], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--cfg", "job", "experiment=fig10_lambda_dom", "run=abc", "row=4"]
    assert run(*words) == []
    printed = capsys.readouterr().out
    assert "lambda_dom: 10" in printed and "sweep: null" in printed and "row: null" in printed


def test_a_sweep_is_not_shown(run: Callable[..., Jobs], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("seed=1,2", "-m", "--cfg", "job")
    assert caught.value.code == 2
    assert "--cfg shows one job, -m starts many" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_completion_installs(
    run: Callable[..., Jobs], capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    assert run("-sc", f"install={shell}") == []
    assert "complet" in capsys.readouterr().out


def test_tab_completion_knows_the_groups(
    run: Callable[..., Jobs],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = "python evaluate.py inversion="
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    run("-sc", "query=bash")
    assert {"inversion=encoder", "inversion=in_domain"} <= set(capsys.readouterr().out.split())


def test_given_keys_are_sorted_by_their_group() -> None:
    words = ["data.test=8", "+trainer.limit=1", "~attributes", "seed=3", "data=folder"]
    assert given_keys(words) == {
        "data": ["data.test", "data"],
        "trainer": ["trainer.limit"],
        "attributes": ["attributes"],
        "seed": ["seed"],
    }


def test_the_command_itself_prints_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "idinvert.cli.evaluate", "sede=1"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: sede=1: there is no such key. Did you mean 'seed'?\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-m a=1 b=2", "a=1 b=2 NEW -m"),
        ("a=1 b=2 -m", "a=1 b=2 NEW -m"),
        ("a=1 -m b=2", "a=1 b=2 NEW -m"),
        ("a=1 -m --cfg job ~b", "a=1 ~b NEW -m --cfg job"),
        ("--info a=1", "a=1 NEW --info"),
        ("-m", "NEW -m"),
        ("", "NEW"),
    ],
)
def test_overrides_stand_together_before_the_flags(given: str, expected: str) -> None:
    assert in_order(given.split(), ["c=3"]) == expected.replace("NEW", "c=3").split()


@pytest.mark.parametrize(
    ("given", "sweeps"),
    [
        ("-m a=1,2", True),
        ("a=1,2 --multirun", True),
        ("a=1", False),
        ("--cfg job a=1", False),
        ("-m --help", False),
        ("--hydra-help -m a=1,2", False),
    ],
)
def test_a_sweep_is_one_by_its_flag(given: str, sweeps: bool) -> None:
    assert is_sweep(given.split()) is sweeps


@pytest.mark.parametrize("given", ["-m --cfg job", "--cfg=job a=1 -m", "-m -c all", "-m --info"])
def test_one_job_is_shown_and_no_sweep(given: str) -> None:
    with pytest.raises(ConfigError, match=r"shows one job, -m starts many.* row=0"):
        is_sweep(given.split())


def test_flags_and_their_values_are_none() -> None:
    words = ["-m", "--cfg", "job", "--config-dir=x", "a=1", "~b", "+c=2", "++d=3"]
    assert [word for word in words if is_override(word)] == ["a=1", "~b", "+c=2", "++d=3"]


@pytest.mark.parametrize(
    ("program", "word"), [("train", "accumulate=4"), ("evaluate", "changes no result")]
)
def test_out_of_memory_is_one_line_with_what_needs_less(
    program: str,
    word: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(config: object, *, given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr(sys, "argv", [f"{program}.py"])
    with pytest.raises(SystemExit) as caught:
        run_app(program, work)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert caught.value.code == 2
    assert error.startswith("error: out of memory (CUDA out of memory)")
    assert word in error
    assert "batch_size=" in error
