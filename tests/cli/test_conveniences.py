"""What users of Lightning and Hydra templates expect, none of which makes another run."""

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from idinvert.cli import commands
from idinvert.cli.evaluate import evaluate
from idinvert.cli.run_log import Tee, kept_in, print_tree
from idinvert.cli.runs import runs_in
from idinvert.cli.tables import record_places
from idinvert.cli.train import config_of_run, train
from idinvert.config.compose import OWN, compose_plain, given_keys
from idinvert.config.identity import scientific_config
from idinvert.config.run_folder import find_run
from idinvert.errors import ConfigError

from .conftest import hydra_put_back

TIMER = "+callbacks.timer={_target_: pytorch_lightning.callbacks.Timer}"


def science(*words: str) -> dict[str, Any]:
    config = compose_plain("train", list(words))
    return scientific_config(config, contents={}, batch_norm_group=None)


def test_none_of_it_enters_a_runs_identity():
    plain = science()
    for words in (
        ["trainer=gpu"],
        ["trainer=cpu", "logger=[csv,tensorboard]"],
        ["logger=[wandb_offline,tensorboard]"],
        ["name=mine", "tags=[a,b]"],
        [TIMER],
        ["system.print_config=false"],
        ["debug=profiler"],
    ):
        assert science(*words) == plain, words
    loggers = compose_plain("train", ["logger=[wandb,tensorboard]"])["logger"]
    assert loggers["wandb"] and loggers["tensorboard"]


def test_every_debug_preset_is_kept_apart():
    for preset in ("fast_dev_run", "overfit", "profiler"):
        config = compose_plain("train", [f"debug={preset}"])
        assert config["system"]["outputs"] == "outputs/debug", preset
        assert config["nimg"] <= 8_000
    assert compose_plain("train", ["debug=profiler"])["trainer"]["profiler"] == "simple"


def test_a_debug_run_with_loggers_and_a_callback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["debug=fast_dev_run", "data.train=16", "data.val=4", "data.test=8", "trainer=cpu"]
    words += ["logger=[csv,tensorboard]", "logging.panel_steps=null", "recalibrate=0", TIMER]
    seen: list[Any] = []
    monkeypatch.setattr(
        "pytorch_lightning.callbacks.Timer.on_fit_end", lambda self, *_: seen.append(self),
        raising=False,
    )  # fmt: skip
    folder = train(compose_plain("train", words))
    assert isinstance(seen[0], pl.callbacks.Timer), "a callback that a configuration adds"
    assert list((folder / "tensorboard").glob("events*")) and (folder / "metrics.csv").is_file()
    log = (folder / "train.log").read_text()
    assert "starting domain_guided" in log and "finished at 8 images" in log
    assert "\r" not in log and "\x1b" not in log
    assert list(runs_in(Path("outputs"))) == [], "no command takes it for a run"
    with pytest.raises(ConfigError, match="There are no runs"):
        find_run(folder.name, outputs="outputs")
    for own, count in (([], 0), ([TIMER], 1)):  # callbacks belong to one command
        words = [f"run={folder}", *own]
        gone_on = config_of_run(compose_plain("train", words), given=given_keys(words))
        assert len(gone_on["callbacks"]) == count
    capsys.readouterr()


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """Starts ``train.py WORDS`` with a work that does nothing; the exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("idinvert.cli.train.train", lambda config, given: None)

    def go(*words):
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        try:
            commands.train()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    before = dict(os.environ)
    with hydra_put_back():
        yield go
    os.environ.clear()
    os.environ.update(before)


def test_a_call_from_python_is_checked_like_a_command():
    for work, program, key in ((train, "train", "nimg"), (evaluate, "evaluate", "n")):
        config = compose_plain(program, [])
        with pytest.raises(ConfigError, match=f"got {key}=-5, expected .*; change {key}"):
            work(config | {key: -5})


def test_hydras_folders_are_refused_with_the_key_to_use(typed, capsys):
    for key in ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.chdir"):
        assert typed(f"{key}=x") == 2
        assert "Use system.outputs=FOLDER." in capsys.readouterr().err


def test_env_files_and_local_configurations_are_read(typed, capsys):
    Path(".env").write_text("FROM_FILE=read\nHOME=not this\n")
    Path("local/encoder").mkdir(parents=True)
    text = "defaults: [base]\n"
    Path("local/encoder/mine.yaml").write_text(text)
    assert typed("encoder=mine") == 0, capsys.readouterr().err
    assert os.environ["FROM_FILE"] == "read" and os.environ["HOME"] != "not this"
    assert os.environ[OWN] == str(Path("local").resolve())
    assert typed("encoder=mein") == 2
    assert "Did you mean 'mine'?" in capsys.readouterr().err


def test_the_configuration_is_printed_as_a_tree_on_a_terminal_alone(monkeypatch):
    config = compose_plain("train", [])
    for terminal, wanted in ((True, True), (True, False), (False, True)):
        out = io.StringIO()
        out.isatty = lambda terminal=terminal: terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdout", out)
        print_tree(config | {"system": config["system"] | {"print_config": wanted}})
        shown = out.getvalue()
        monkeypatch.undo()
        assert ("objective" in shown and "├──" in shown) is (terminal and wanted)
        assert "True" not in shown and "None" not in shown, "as it is typed: true, null"


def test_an_error_stands_in_the_log_and_a_bar_does_not(tmp_path):
    with pytest.raises(ValueError), kept_in(tmp_path):
        print("a line")
        print("\rbar", end="", file=sys.stderr)
        raise ValueError("what went wrong")
    log = (tmp_path / "train.log").read_text()
    assert log.startswith("a line\nTraceback") and log.endswith("ValueError: what went wrong\n")
    closed = io.StringIO()
    closed.close()
    assert Tee(io.StringIO(), closed).write("x") == 1, "a file that cannot be written is no error"


def test_committed_records_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    committed, own = record_places("experiments/table1_methods", outputs=Path("outputs"))
    assert (committed / "records.jsonl").is_file() and own == Path("outputs/records.jsonl")
