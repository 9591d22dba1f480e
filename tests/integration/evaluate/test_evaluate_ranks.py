"""Evaluations by two processes: every image once, one record, the figures of one process."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from idinvert.checkpoints.release import fingerprint
from idinvert.editing.directions import Direction, save_directions
from tests.processes import Program, finish, interpreter, two_ranks

pytestmark = pytest.mark.slow
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
WORDS = ("n=5", "batch_size=2", "metric.names=[mse,ssim]", "inversion.steps=3")
"""Three chunks for two ranks, the last a short one."""
SETS = "metric.names=[mse,ssim,swd]"
METHODS = "[{label: E, words: 'inversion=encoder'}]"
ON_A_RUN = {
    "reconstruction": (),
    "interpolation": (SETS,),
    "mixing": ("metric.names=[swd]", "task.shown=2"),
    "manipulation": ("metric.names=[swd]", "task.directions=DIRECTIONS", "task.shown=1"),
    "semantics": ("task.names=[pose,smile]", "task.directions=DIRECTIONS"),
    "diffusion": (SETS, "inversion=diffusion", "inversion.steps=1", "task.shown=1"),
    "failures": ("task.worst=2",),
    "out_of_domain": (
        SETS,
        f"task.methods={METHODS}",
        "task.own='data.seed=0'",
        "data.seed=9",
        "n=2",
    ),
    "gallery": (f"task.methods={METHODS}", "task.images=[1,3]"),
    "training_curves": (),
    "samples": ("metric.names=[swd]", "task.shown=2"),
    "invert": ("images=PHOTOS",),
}
"""The tasks of a run, each with what makes it small; `speed` measures one process."""


@pytest.fixture
def places(world, tmp_path):
    """What stands in the words for files: two directions, five photographs."""
    of = {"generator": fingerprint(world.gan / "weights" / "generator.safetensors")}
    rng = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(2, 1, 8, generator=rng), dim=2)
    named = zip(("pose", "smile"), vectors, strict=True)
    save_directions(
        tmp_path / "directions.safetensors", [Direction(name, v, None, of) for name, v in named]
    )
    (tmp_path / "photos").mkdir()
    for k in range(5):
        Image.new("RGB", (20, 20), (40 * k, 90, 200)).save(tmp_path / "photos" / f"{k}.png")
    return {
        "DIRECTIONS": str(tmp_path / "directions.safetensors"),
        "PHOTOS": str(tmp_path / "photos"),
    }


def by_two_ranks(words: Sequence[str], *, before: Sequence[str] | None = None) -> str:
    """What two ranks of ``evaluate.py`` print, forked or started by what stands before it."""
    words = [*words, "trainer=ddp_cpu", "system.num_threads=1"]
    if before is not None:
        return finish(interpreter(*before, "-m", "idinvert.cli.evaluate", *words))
    return finish(*(Program("evaluate", words, env=variables) for variables in two_ranks()))


def records_in(outputs: Path) -> list[dict[str, Any]]:
    path = outputs / "records.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def files_in(outputs: Path) -> set[str]:
    """Names of what was written, without processes' logs and without hashes of words."""
    kinds = (".png", ".pdf", ".safetensors", ".csv", ".html")
    folders = (outputs / name for name in ("evaluations", "figures"))
    return {path.name for folder in folders for path in folder.rglob("*") if path.suffix in kinds}


@pytest.mark.parametrize(
    ("task", "launcher"),
    [*((task, None) for task in ON_A_RUN), ("reconstruction", ()), ("reconstruction", TORCHRUN)],
)
def test_two_ranks_measure_what_one_does(go, world, outputs, places, tmp_path, task, launcher):
    usual = WORDS[1:] if task == "invert" else WORDS  # it inverts all of images=
    words = [f"run={world.run.name}", *usual, f"task={task}", *ON_A_RUN[task]]
    for name, path in places.items():
        words = [word.replace(name, path) for word in words]
    alone = go(*words)
    one = {file.name: file for file in outputs.glob("evaluations/**/part-*")}
    second = tmp_path / "second"
    (second / "domain_guided").mkdir(parents=True)
    (second / "domain_guided" / world.run.name).symlink_to(world.run)
    said = by_two_ranks(
        [*words, f"system.outputs={second}", f"system.cache={world.cache}"], before=launcher
    )
    both = records_in(second)
    assert [record["n"] for record in both] == [record.n for record in alone]
    for first, other in zip(alone, both, strict=True):
        assert other["metrics"] == pytest.approx(first.metrics, rel=1e-5)
        assert other["task"] == first.task == task
        assert other["choices"] == json.loads(json.dumps(first.choices))
    assert files_in(second) == files_in(outputs)
    two = {file.name: file for file in second.glob("evaluations/**/part-*")}
    assert one.keys() == two.keys()
    if task in ("reconstruction", "interpolation", "invert"):
        assert len(two) >= 3 and "rank 0 of 2" in said


def test_tasks_of_the_first_rank_are_not_done_twice(world, tmp_path, places):
    place = [f"system.outputs={tmp_path / 'out'}", f"system.cache={world.cache}"]
    gan = ["generator=checkpoint", f"generator.path={world.gan}"]
    reader = [f"attributes.path={world.attributes}"]
    by_two_ranks(
        ["task=directions", *gan, *reader, *place, "task.names=[pose,eyeglasses]",
         "task.samples=200", "task.fraction=0.25"]
    )  # fmt: skip
    assert len(list((tmp_path / "out" / "evaluations").rglob("directions.safetensors"))) == 1
    (tmp_path / "out" / "domain_guided").mkdir()
    (tmp_path / "out" / "domain_guided" / world.run.name).symlink_to(world.run)
    by_two_ranks(
        [f"run={world.run.name}", "task=speed", "inversion.steps=1", "task.images=2", *place]
    )
    (record,) = records_in(tmp_path / "out")
    assert record["metrics"]["seconds_per_image"] > 0
