"""Whole commands in this process, with Hydra's and logging's global state put back after them."""

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hydra.core.singleton import Singleton

from idinvert.cli.commands import run_app

Work = Callable[[dict[str, Any]], Any]


@contextlib.contextmanager
def hydra_put_back() -> Iterator[None]:
    """Hydra's and logging's global state is afterwards as it was."""
    state = Singleton.get_state()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for name in list(logging.Logger.manager.loggerDict):
        logging.getLogger(name).disabled = False
    Singleton.set_state(state)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """``python train.py WORDS`` with a work of the test's own, in a folder of its own.

    Returns the exit status.
    """
    monkeypatch.chdir(tmp_path)

    def go(work, *words, program="train"):
        monkeypatch.setattr(sys, "argv", [f"{program}.py", *words])
        try:
            run_app(program, lambda config, *, given: work(config))
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    with hydra_put_back():
        yield go


@pytest.fixture
def table(tmp_path):
    """The stored table of the one sweep that has run."""

    def read():
        (path,) = (tmp_path / "outputs" / "sweeps").glob("*/table.json")
        return json.loads(path.read_text())

    return read


@pytest.fixture
def trained(tmp_path):
    """Makes a run's folder as training leaves it: status, a row of validation, a checkpoint."""

    def make(name, *, state="finished", stopped_by=None, **figures):
        folder = tmp_path / "outputs" / "objective" / name
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "nimg-000000008.ckpt").write_text("")
        status = {"state": state, "nimg": 8} | ({"stopped_by": stopped_by} if stopped_by else {})
        (folder / "status.json").write_text(json.dumps(status))
        last = {"nimg": 8} | {f"val/{name}": value for name, value in figures.items()}
        rows = [{"nimg": 4, "val/mse": 9.0}, last]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return make
