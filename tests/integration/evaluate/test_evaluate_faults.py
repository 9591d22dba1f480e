"""A kill and a full disk at each write of an evaluation, which then goes on to the same files."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from idinvert import durable
from idinvert.cli.evaluate import evaluate
from idinvert.cli.exit_handling import explained
from idinvert.config.compose import compose_plain, given_keys
from idinvert.errors import IdinvertError
from tests.odd_files import ODD

pytestmark = pytest.mark.slow
SHORT = ("batch_size=2", "inversion.steps=2", "trainer=cpu")
TASKS = {
    "reconstruction": ("n=4", "metric.names=[mse,ssim]"),
    "interpolation": ("n=4", "metric.names=[swd]"),
    "invert": ("images={images}",),
}
OF_THIS_TIME = ("seconds", "created", "command")
"""Keys of what is written that tell when and how long."""


def without_time(node: Any) -> Any:
    """Written values without what differs from one time to the next."""
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if not any(word in k for word in OF_THIS_TIME)}
        return {key: without_time(value) for key, value in kept.items()}
    return [without_time(each) for each in node] if isinstance(node, list) else node


@pytest.fixture
def go(world, tmp_path):
    """Evaluates as a new process would; each place is an outputs folder with the run in it."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        Image.effect_noise((16, 16), 50 + number).convert("RGB").save(images / f"{number}.png")

    def run(task, where, *more):
        durable.sweep.cache_clear()
        outputs = tmp_path / where
        if not outputs.is_dir():
            shutil.copytree(world.run, outputs / "domain_guided" / world.run.name)
        words = [f"run={world.run.name}", f"task={task}", *SHORT, *TASKS[task], *more]
        place = [f"system.outputs={outputs}", f"system.cache={world.cache}"]
        words = [word.format(images=images) for word in [*place, *words]]
        evaluate(compose_plain("evaluate", words), given=given_keys(words))
        return outputs

    return run


def same(one: Path, other: Path) -> None:
    """Compares all that two evaluations left."""
    names = [
        sorted(str(path.relative_to(each)) for path in each.rglob("*") if path.is_file())
        for each in (one, other)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith((".png", "codes.safetensors")):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
        if name.endswith("records.jsonl"):  # a call adds its record; of equals the last counts
            lines = [(each / name).read_text().splitlines() for each in (one, other)]
            found = [[without_time(json.loads(line)) for line in each] for each in lines]
            assert all(record == found[1][-1] for each in found for record in each), name


@pytest.mark.parametrize("task", TASKS)
def test_a_kill_at_each_write(go, at_each_write, tmp_path, task):
    states: list[Path] = []

    def keep(path):
        state = tmp_path / f"killed{len(states)}"
        shutil.copytree(tmp_path / "whole", state)
        states.append(state)
        torn = state / path.relative_to(tmp_path / "whole")
        if path.suffix == ".jsonl" and torn.is_file():  # amid the line
            os.truncate(torn, torn.stat().st_size - 20)

    go(task, "whole") and shutil.rmtree(
        tmp_path / "whole"
    )  # what goes to the shared cache is there
    with at_each_write(tmp_path / "whole", keep):
        whole = go(task, "whole")
    print(f"{len(states)} kills")
    assert len(states) >= 3
    for state in states:
        same(go(task, state.name), whole)
        shutil.rmtree(state)


@pytest.mark.parametrize("task", TASKS)
def test_a_full_disk_at_each_write(go, at_each_write, tmp_path, task):
    def full(path):
        written.append(path)
        if len(written) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    whole, failures, room = go(task, "whole"), 0, 0
    while True:
        written: list[Path] = []
        where = f"full{room}"
        with at_each_write(tmp_path / where, full):
            try:
                go(task, where)
            except (IdinvertError, OSError) as error:
                failures += 1
                told = str(explained(error, program="evaluate"))
                assert "No space left on device" in told and "\n" not in told
            else:
                break  # there was room for all
        same(go(task, where), whole)
        shutil.rmtree(tmp_path / where)
        room += 1
    print(f"{failures} full disks")
    assert failures >= 3


@pytest.mark.parametrize(
    ("task", "odd"), [("invert", odd) for odd in ODD] + [("reconstruction", "pipe")]
)
def test_what_is_no_file_in_place_of_each_file(
    go, ends_well, world, tmp_path, monkeypatch, task, odd
):
    cache = shutil.copytree(world.cache, tmp_path / "begun" / "cache")
    monkeypatch.setattr(world, "cache", tmp_path / "again" / "cache")
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "again" / "own"))
    shutil.copytree(cache, world.cache)
    whole = go(task, "again/out").parent.rename(tmp_path / "whole")
    names = [str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()]
    refused = []
    for name in names:
        again = shutil.copytree(whole, tmp_path / "again")
        (again / name).unlink()
        ODD[odd](again / name)
        error = ends_well("evaluate", lambda: go(task, "again/out"))
        if error:
            assert str(again / "out") in error or str((again / name).parent) in error
            told = ("expected a", "has no", "Move it away", "There are no runs in")
            assert any(words in error for words in told)
            refused.append(name)
        elif "evaluations" in name:
            assert (again / name).is_file(), "made anew"
        shutil.rmtree(again)
    print(f"{odd}: {len(names)} files, refused: {refused}")
