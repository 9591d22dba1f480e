"""What a user finds out without training: the list of runs, help, version, completion."""

import json
import subprocess
import sys

import pytest

from idinvert import __main__ as overview
from idinvert.cli import commands
from idinvert.cli.runs import choices_of, main, name_of
from idinvert.tracking.run_files import read_status, write_status

COMMAND = "train.py experiment=domain_guided encoder=resnet18 latent.offset=none nimg=64"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder with a finished, a killed, a diverged run and one that never started."""
    monkeypatch.chdir(tmp_path)
    for name, state in (
        ("aa", "finished"),
        ("bb", "running"),
        ("cc", "diverged"),
        ("dd", "failed"),
    ):
        folder = tmp_path / "outputs" / "domain_guided" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(
            f"# {COMMAND} seed={len(name)}\ndata: {{_target_: x.faces_mini}}\n"
        )
        write_status(folder, state=state, nimg=0 if state == "failed" else 64)
        if state != "failed":
            row = {"nimg": 64, "val/mse_of_mean_image": 0.5, "val/mse": 0.25}
            (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    gone = subprocess.Popen(["true"])
    gone.wait()
    status = tmp_path / "outputs/domain_guided/bb/status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"process": gone.pid}))
    return tmp_path


def test_runs_are_listed_filtered_and_as_json(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([]) == 0
    table = capsys.readouterr().out
    assert all(len(line) <= 80 for line in table.splitlines())
    assert all(word in table for word in ("id", "last metric", "aa", "0.25", "encoder=resnet18"))
    assert main(["--json", "resnet18"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {run["id"]: run["state"] for run in found} == {
        "aa": "finished", "bb": "killed", "cc": "diverged", "dd": "failed to start",
    }  # fmt: skip
    assert found[0]["name"] == "faces_mini-resnet18-no_offset-seed_2"
    assert found[0]["choices"] == ["encoder=resnet18", "latent.offset=none", "seed=2"]
    assert found[0]["last_metric"] == "val/mse 0.25"
    (runs / "outputs/domain_guided/cc/metrics.jsonl").unlink()  # at the first look, not before it
    assert main(["--json", "--state", "diverged"]) == 0 and '"cc"' in capsys.readouterr().out
    assert main(["--json", "--state", "killed"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    (runs / "outputs/domain_guided/aa/status.json").write_text("{")
    assert main(["--json", "--state", "unknown"]) == 0 and '"aa"' in capsys.readouterr().out
    assert main(["resnet50"]) == 0
    assert "no such runs in outputs" in capsys.readouterr().out


def test_a_name_says_what_differs():
    words = choices_of(
        "train.py experiment=gan data=towers_mini objective.lr=1e-4 system.tf32=true"
    )
    assert words == ["data=towers_mini", "objective.lr=1e-4"]
    assert name_of(words, data="towers_mini") == "towers_mini-lr_1e_4"
    assert name_of(choices_of(None), data="faces_mini") == "faces_mini"
    quoted = "train.py 'data.path=My Photos (1)' 'data.split={kind: seed, test: 2}'"
    assert choices_of(quoted) == ["data.path=My Photos (1)", "data.split={kind: seed, test: 2}"]
    assert choices_of("train.py seed=1 data.path=it's") == ["seed=1", "data.path=it's"]


def test_a_run_is_listed_under_the_name_that_it_was_given(runs, capsys):
    config = runs / "outputs/domain_guided/aa/config.yaml"
    config.write_text(config.read_text().replace("train.py ", "train.py 'name=first try' "))
    assert main([]) == 0 and "name=first try" in " ".join(capsys.readouterr().out.split())
    assert main(["--json", "first try"]) == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert found["name"] == "first try" and found["choices"][0] == "name=first try"


def test_completion_of_run_leaves_out_what_never_started(runs, capsys, monkeypatch):
    for line, words in (("run=", "run=aa run=bb run=cc"), ("n=2 run=b", "run=bb")):
        monkeypatch.setenv("COMP_LINE", f"python evaluate.py {line}")
        monkeypatch.setattr("sys.argv", ["evaluate.py", "-sc", "query=bash"])
        commands.evaluate()
        assert capsys.readouterr().out.split() == words.split()


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_help_says_what_the_program_does_with_five_examples(program, capsys, monkeypatch):
    for flag in ("--help", "-h"):
        monkeypatch.setattr("sys.argv", [f"{program}.py", flag])
        getattr(commands, program)()
        said = capsys.readouterr().out
        assert said.count(f"  python {program}.py ") == 5
        assert max(map(len, said.splitlines())) <= 80
    assert ("  task=" in said) is (program == "evaluate") and "| bedrooms_mini |" in said
    monkeypatch.setattr("sys.argv", [f"{program}.py", "--version"])
    getattr(commands, program)()
    assert capsys.readouterr().out == "idinvert 0.1.0\n"


def test_the_package_itself_says_which_programs_there_are(runs, capsys, monkeypatch):
    def typed(*words):
        monkeypatch.setattr("sys.argv", ["idinvert", *words])
        monkeypatch.setenv(overview.STARTED, "")
        try:
            overview.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    assert typed() == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("train.py", "evaluate.py", "runs", "data", "checkpoints"))
    assert typed("rusn") == 2 and "there is no program rusn" in capsys.readouterr().err
    assert typed("runs", "--json") == 0 and len(capsys.readouterr().out.splitlines()) == 4
    assert typed("--version") == 0


@pytest.mark.slow
def test_ranks_are_started_by_the_package_s_name_too(tmp_path):
    words = ["experiment=attributes", "data.train=16", "data.val=4", "data.test=4"]
    words += ["batch_size=8", "nimg=16", "trainer=ddp_cpu", "system.num_threads=1"]
    command = [sys.executable, "-m", "idinvert", "train", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "there is no program" not in done.stderr
    (config,) = tmp_path.glob("outputs/*/*/config.yaml")
    assert config.read_text().startswith("# idinvert-train experiment=attributes ")
    assert read_status(config.parent) == {"state": "finished", "nimg": 16}


def test_listing_runs_loads_no_torch():
    script = "import sys, idinvert.__main__, idinvert.cli.runs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
